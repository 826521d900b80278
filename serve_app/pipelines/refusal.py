"""How a job is told that something of the catalogue, which it names, cannot be used with its model."""

import logging

from serve_app.errors import InvalidFields

log = logging.getLogger(__name__)


def refused(field: str, name: str, why: str) -> InvalidFields:
    """The failure of whoever names it; it would be the same next time. The operator, who can mend it, reads it too."""
    sentence = f"The {field.replace('_', ' ')} {name!r} cannot be used with this model: {why}."
    log.warning(sentence)
    return InvalidFields({field: [sentence]})
