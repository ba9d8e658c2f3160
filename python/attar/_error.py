"""The one exception type of Attar."""


class Error(Exception):
    """What went wrong, where, what was expected and got. `exit_code` is the programs': 2 usage, 3 input, 4 gate, 5 resources."""

    def __init__(self, message, exit_code=1, where="", what="", expected="", got="", hint=""):
        super().__init__(message)
        self.exit_code, self.where, self.what, self.expected, self.got, self.hint = exit_code, where, what, expected, got, hint
