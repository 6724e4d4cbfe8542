"""What a process calls first that is to be held by permission bits, which hold no root."""

import ctypes

#: The version of the call's structures, and its two capabilities that look past permission bits.
_VERSION, _PAST_BITS = 0x20080522, 0b110


def held_by_permissions() -> None:
    """Give up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH; whoever has neither stays as they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for at in (0, 1):  # the effective and the permitted ones
        sets[at] &= ~_PAST_BITS
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
