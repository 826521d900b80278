"""One line of the table of faults: what went in, what came out, how long it took."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).parent.parent.parent / "build" / "faults.jsonl"


@dataclass(frozen=True, slots=True)
class Row:
    """One run of one fault."""

    fault: str
    in_flight: int
    """Jobs that had not ended when it struck first, or whose webhook had not come."""
    accepted: int
    """Jobs that the service said it had taken."""
    ended: int
    """Of these, those that ended as they should."""
    wrong: int
    """Pictures that are missing or differ from the undisturbed run's."""
    hooks: int
    """Webhooks delivered."""
    hooks_due: int
    """Webhooks that were to be delivered."""
    duplicates: int
    """Webhooks that came again though their receiver had not asked for it; each with the webhook-id of the first."""
    seconds: float
    """From the fault, or from its end where it lasts, until the last job has ended and its webhook has come."""
    difference: int
    """The largest between any channel of any picture and the undisturbed run's, of 255."""

    def append(self) -> None:
        """Write it behind the others."""
        FILE.parent.mkdir(exist_ok=True)
        with FILE.open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def read_rows() -> list[Row]:
    """The last row of every fault, in the order of their first."""
    if not FILE.exists():
        return []
    rows = [Row(**json.loads(line)) for line in FILE.read_text().splitlines()]
    return list({row.fault: row for row in rows}.values())
