"""Which of the replies that a service did not give are rewritten."""

from control_plane.translate.local_replies import NOT_ENVOYS, PROBLEMS, local_reply_config


def test_what_nobody_rewrites_ends_the_search_first() -> None:
    """A hit of the cache or a denial costs one expression, not one for each kind of fault."""
    first, *others = local_reply_config().mappers

    assert not first.HasField("status_code")
    assert not first.HasField("body")
    assert not first.HasField("body_format_override")
    assert not first.headers_to_add
    assert 2 * len(PROBLEMS) == len(others)


def test_no_fault_is_left_untouched() -> None:
    """None of the reasons for which Envoy itself answers hides behind those of others."""
    for problem in PROBLEMS:
        assert not set(problem.reasons) & set(NOT_ENVOYS)
        assert not any(reason.startswith(problem.reason_prefixes) for reason in NOT_ENVOYS if problem.reason_prefixes)
