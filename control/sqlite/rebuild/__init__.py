"""Tables made anew with other keys while everybody works with them, and put in the place of the old ones."""
