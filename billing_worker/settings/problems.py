"""What is wrong with the settings, in words for the person who has to change them.

A message names the variable, describes its value and says what to do. It must never contain a secret's value, nor one
that may be a secret in the wrong place.
"""

from dataclasses import dataclass

from billing_worker.settings.fields import PREFIX


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: with which variable, what its value looks like, why it will not do and what to do."""

    name: str
    shape: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name} ({self.shape}): {self.reason}; {self.remedy}"


class SettingsFault(Exception):  # noqa: N818 - what people did is a fault, what programs do an error
    """Some settings are missing, wrong or contradictory; all that could be found are in problems."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def env_name(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def described(text: str) -> str:
    return f"text of {len(text)} characters" if text else "empty"


def written(value: object) -> str:
    """A value as its environment variable would say it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(written(part) for part in value) or "none"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)
