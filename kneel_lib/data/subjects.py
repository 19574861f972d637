"""What may name a subject, in every table that is read or written."""

import hashlib
import re


def names_a_subject(text: str) -> bool:
    """Whether a text may name a subject: up to 18 digits, or a word that no program takes for a number."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return True
    try:
        float(text)
    except ValueError:
        return re.fullmatch(r"\w[\w .+-]{0,63}", text) is not None
    return False


def subject_of(name: str) -> str:
    """A subject's name for a file's: the very same if `names_a_subject` allows it; else its end, what is not
    allowed replaced, and eight digits of a digest that tell apart what then reads alike."""
    if names_a_subject(name):
        return name
    plain = re.sub(r"[^\w .+-]+", "_", name)[-48:].lstrip(" .+-")
    return f"{plain or 'file'}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
