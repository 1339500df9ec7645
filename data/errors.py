"""What a user can mend, apart from what is a fault of ours."""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user of a command can mend.

    Its text is one sentence or two: what is wrong, where (file, row, flag), and what
    to do. A command ends with that text and the exit code 1; every other error is a
    fault of the code and shows where it came from.

    The packages `mgnm_tf` and `baselines` are libraries, do not import this one, and
    raise `ValueError` for arguments that they do not take. Whoever hands them a
    user's arguments turns that into a `UserError`.
    """
