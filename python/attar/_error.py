"""The one exception type of Attar."""


class Error(Exception):
    """What went wrong, where, what was expected and got. `exit_code` is the programs': 2 usage, 3 input, 4 gate, 5 resources."""

    def __init__(self, message, exit_code=1, where="", what="", expected="", got="", hint=""):
        super().__init__(message)
        self.exit_code, self.where, self.what, self.expected, self.got, self.hint = exit_code, where, what, expected, got, hint


def _usage(where, what, expected="", got=""):
    """Error of a wrong argument, worded as the C++ ones are."""
    details = ", ".join(f"{name} {text}" for name, text in (("expected", expected), ("got", got)) if text)
    return Error(f"{where}: {what}" + (f" ({details})" if details else ""), 2, where, what, expected, got)
