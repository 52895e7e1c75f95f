"""Python does nothing for single tokens: it executes as many bytecodes for long completions as for short ones."""

from scripts.rollout_tools.after import bytecodes, executed


def test_bytecodes_are_counted():
    assert executed(lambda: sum(i for i in range(2000))) > 2000 > executed(lambda: sum(range(2000)))


def test_no_bytecode_is_executed_for_a_token(tmp_path):
    """From graded completions to the log, its replay, the metrics and the micro-batches."""
    short, long = (bytecodes(16, tokens, 4, tmp_path / str(tokens)) for tokens in (50, 5000))
    assert short > 5000 and abs(long - short) < 16 * 50
