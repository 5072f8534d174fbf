"""A package that adds to DataProphet: a format of rows with `ask` and `reply`, one of tab-separated lines, a factor."""

from dataprophet.data.formats.base import Format, Parsed
from dataprophet.metric.added import Factor


def _parse(row):
    return Parsed([("user", row["ask"]), ("assistant", row["reply"])], row.get("picture"))


def _mismatch(row, suffix):
    return "" if "ask" in row and "reply" in row else "no columns 'ask' and 'reply'"


PAIRS = Format("rows of ask and reply, picture", _parse, _mismatch, ids=("key",))


def write_lines(rows, folder, name):
    """A line for each turn, and the images beside it."""
    count = 0
    with folder.create(f"{name}.txt") as file:
        for row in rows:
            images = [folder.add_image(source) for source in row.sources]
            for turn in row.turns:
                file.write("\t".join([row.id, turn.question, turn.answer, *images]).encode() + b"\n")
            count += 1
    return count


def _length(source, target):
    """1 where answers are as long as the target's, less the more they differ."""
    lengths = [profile.n_tokens / profile.n_samples for profile in (source, target)]
    return min(lengths) / max(lengths)


LENGTH = Factor(_length, grouped=True)  # it reads sums alone
