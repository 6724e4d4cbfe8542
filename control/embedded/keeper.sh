# Runs one server in a folder of its own and takes both away when whoever started it is gone.
#
# Standard input is a pipe that only the starter holds: its end is the one sign of death that SIGKILL gives
# too. Two lines come through it, a command that prepares the folder and the server itself, both quoted for
# the shell; then silence until the end.
#
# Arguments: the folder to make ours in, the signal that stops the server, the one that forces it.
parent=$1 stop=$2 force=$3

folder=$(mktemp -d "$parent/tenantry-XXXXXX") || exit 1
trap 'cd / && rm -rf -- "$folder"' EXIT
# PIPE too: a starter that is gone before it reads the folder's name would else kill this shell, past its EXIT.
trap 'exit 1' HUP INT TERM PIPE
cd "$folder" && : >log && printf '%s\n' "$folder" || exit 1
exec 3<&0 </dev/null >>log 2>&1

read -r prepare <&3 && read -r serve <&3 || exit 1
eval "$prepare" 3<&- || exit 1
eval "exec $serve" 3<&- &
server=$!
trap 'kill -s "$stop" "$server"' HUP INT TERM

# Again and again, because a server that has not set its signal handlers yet ignores the first ones.
(
  read -r _ <&3
  tries=0
  while kill -s "$stop" "$server" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -gt 100 ] && stop=$force
    sleep 0.1
  done
) &
watcher=$!

# A trapped signal ends `wait` early; only a server that has been waited for can't be signalled any more.
while kill -0 "$server" 2>/dev/null; do wait "$server"; done
kill "$watcher" 2>/dev/null
