"""Statistics of a real run under its privacy budget: stated, spent, enforced, shown, and checked by the audit."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path

import pytest

from e2e.runs import copy_of, file_of, rechain, rural1_day, rural1_private
from walras.commands.statistics import Asked, epsilon_of, statistics_command
from walras.errors import AuditError, InputError, JournalError
from walras.exchange.acts import ActKind, acts_of
from walras.exchange.audit import Audit
from walras.exchange.journal import Journal, canonical, read_public_record
from walras.exchange.publishing import budgets, measured_in
from walras.exchange.statement import opened_terms, settled_slots
from walras.metering.privacy import Exhausted
from walras.metering.statistics import STATISTICS
from walras.service import publishing
from walras.service.publishing import Published, Question, publish
from walras.study.report import write_report
from walras.study.runner import PUBLIC, Options, Run, open_journal

DAY = "2016-06-21"


def published(run: Path) -> list[dict[str, object]]:
    acts = acts_of(read_public_record(run / PUBLIC))
    return [dict(act.detail or {}) for act in acts if act.kind is ActKind.PUBLISHED]


def test_an_answer_is_in_the_record_costs_its_epsilon_once_and_is_given_again_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(rural1_private(), tmp_path / "run")
    statistics_command(run, Asked("consumption", None, "period", "0.25", tmp_path / "a.json"), None)
    statistics_command(run, Asked("consumption", DAY, "period", None, tmp_path / "b.json"), None)
    first, again = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first == again
    assert (first["epsilon"], first["sensitivity"], first["budget"]["left"]) == ("0.25", 20_000, "0.75")
    (act,) = published(run)
    assert act["values"] == list(first["values"].values())
    assert "published before, at no cost" in capsys.readouterr().out
    assert Audit(run / PUBLIC).run().checked["statistics within the privacy budget"] == 1


def test_what_exceeds_the_budget_is_refused_with_the_way_out_and_the_refusal_is_on_record(tmp_path: Path) -> None:
    run = copy_of(rural1_private(), tmp_path / "run")
    statistics_command(run, Asked("consumption", DAY, "hour", "0.6"), None)
    with pytest.raises(JournalError, match=r"would cost 0.401 of the privacy budget, 0.4 is left") as caught:
        statistics_command(run, Asked("feed_in", DAY, "period", "0.401"), None)
    assert "smaller --epsilon" in caught.value.way_out
    statistics_command(run, Asked("feed_in", DAY, "period", "0.4"), None)
    with pytest.raises(JournalError, match="0 is left"):
        statistics_command(run, Asked("feeding_in", DAY, "period", "0.001"), None)
    acts = acts_of(read_public_record(run / PUBLIC))
    assert [act.kind for act in acts[-4:]] == [ActKind.PUBLISHED, ActKind.DENIED, ActKind.PUBLISHED, ActKind.DENIED]
    terms, _ = opened_terms(read_public_record(run / PUBLIC))
    (budget,) = budgets(terms, read_public_record(run / PUBLIC)).values()
    assert (budget.left, budget.spent) == (0, Fraction(1))
    assert Audit(run / PUBLIC).run().checked["statistics within the privacy budget"] == 2


def test_the_budget_and_what_was_published_are_shown_on_the_terminal_and_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(rural1_private(), tmp_path / "run")
    statistics_command(run, Asked("shared", DAY, "hour", "0.125"), None)
    capsys.readouterr()
    statistics_command(run, Asked(out=tmp_path / "all.json"), None)
    assert capsys.readouterr().out.splitlines()[1].split() == [DAY, "1", "0.125", "0.875", "shared", "by", "hour"]
    shown = json.loads((tmp_path / "all.json").read_text())
    assert shown["budgets"] == [{"period": DAY, "epsilon": "1", "spent": "0.125", "left": "0.875", "releases": ["shared by hour"]}]
    assert len(shown["published"][0]["values"]) == 24
    write_report(run, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "What was published of the community" in page
    assert "shared by hour" in page
    assert "23 of 24 slots, each what its contributors" in page


def test_the_noise_is_the_operating_systems_and_not_the_runs(tmp_path: Path) -> None:
    """The same run twice over, the same question: an outsider who could make the noise again would find one answer."""
    answers = set()
    for number in range(3):
        run = copy_of(rural1_private(), tmp_path / str(number))
        statistics_command(run, Asked("consumption", DAY, "hour", "1"), None)
        answers.add(tuple(published(run)[0]["values"]))  # type: ignore[arg-type]
    assert len(answers) == 3


def asked(name: str = "consumption", by: str = "period", epsilon: Fraction | None = Fraction(1, 2)) -> Question:
    return Question(STATISTICS[name], DAY, by, epsilon)


def test_the_record_is_written_before_the_answer_is_seen_and_a_draw_cut_off_costs_nothing(tmp_path: Path) -> None:
    run = copy_of(rural1_private(), tmp_path / "run")
    journal = open_journal(run)
    moment = acts_of(journal.entries())[0].at if acts_of(journal.entries()) else opened_terms(journal.entries())[0].grid.origin

    def killed(below: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(journal, run, asked(), moment, "operator", killed)
    assert published(run) == []
    appended = Journal.append

    def append_then_die(self: Journal, *arguments: object) -> object:
        appended(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    for where, what, spent in ((Journal, ("append", append_then_die), 0), (publishing, ("write_public_record", die), 1)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(where, *what)
            with pytest.raises(KeyboardInterrupt):
                publish(journal, run, asked(), moment, "operator")
        acts = [act for act in acts_of(journal.entries()) if act.kind is ActKind.PUBLISHED]
        assert len(acts) == spent  # taken back whole, or in the record whole
    journal.close()
    reopened = open_journal(run)
    answer = publish(reopened, run, asked(epsilon=None), moment, "operator")
    assert isinstance(answer, Published)
    assert (answer.again, answer.budget.left) == (True, Fraction(1, 2))
    reopened.close()


def test_two_who_publish_at_once_cannot_both_spend_the_last_of_the_budget(tmp_path: Path) -> None:
    run = copy_of(rural1_private(), tmp_path / "run")
    one, two, three = open_journal(run), open_journal(run), open_journal(run)
    moment = opened_terms(one.entries())[0].grid.origin
    first = publish(one, run, asked(epsilon=Fraction(1)), moment, "operator")
    assert isinstance(publish(two, run, asked("feed_in", epsilon=Fraction(1)), moment, "operator"), Exhausted)
    again = publish(three, run, asked(epsilon=Fraction(1)), moment, "operator")
    assert isinstance(first, Published)
    assert isinstance(again, Published)
    assert (again.again, again.release) == (True, first.release)
    for journal in (one, two, three):
        journal.close()


def test_what_is_measured_is_what_stands_after_corrections(tmp_path: Path) -> None:
    entries = read_public_record(rural1_private() / PUBLIC)
    terms, _ = opened_terms(entries)
    standing = list(settled_slots(terms, entries))
    assert any(slot.correction is not None for slot in standing)
    measured = measured_in(terms, entries, DAY, "hour")
    assert measured.import_wh.tolist() == [slot.import_wh.tolist() for slot in standing]
    assert measured.export_wh.tolist() == [slot.export_wh.tolist() for slot in standing]
    assert measured.cells == tuple(f"{hour:02}:00" for hour in range(24))


def test_a_period_that_is_not_over_is_not_published(tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    going = iter(Run(file_of(rural1_private()), unfinished, Options()))
    next(going)
    going.close()  # type: ignore[attr-defined]
    with pytest.raises(JournalError, match="not over"):
        statistics_command(unfinished, Asked("consumption", DAY, "period", "0.5"), None)


def test_without_a_budget_nothing_is_published_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no privacy budget") as caught:
        statistics_command(copy_of(rural1_day(), tmp_path / "bare"), Asked("consumption", DAY, "period", "1"), None)
    assert "[privacy]" in caught.value.way_out
    run = copy_of(rural1_private(), tmp_path / "run")
    for wrong, why in (
        (Asked("traded", DAY, "period", "1"), "one of consumption"),
        (Asked("consumption", "2016-06-22", "period", "1"), f"one of {DAY}"),
        (Asked("consumption", DAY, "minute", "1"), "one of period, day, hour"),
        (Asked("consumption", DAY, "period", None), "not published yet"),
        (Asked("consumption", DAY, "period", "0"), "above 0"),
        (Asked("consumption", DAY, "period", "1e-4"), "three decimals"),
    ):
        with pytest.raises(InputError, match=why):
            statistics_command(run, wrong, None)
    assert published(run) == []
    assert epsilon_of("0.1") == Fraction(1, 10)


def forged(run: Path, to: Path, change: dict[str, object], twice: bool = False) -> Path:
    """A copy of the record whose last act says something else (or is there twice), hashed anew."""
    lines = (run / PUBLIC).read_bytes().splitlines()
    record = json.loads(lines[-1])
    record["public"]["detail"] |= change
    after = [*lines[:-1], canonical(record)]
    if twice:
        after.append(canonical({**record, "seq": record["seq"] + 1}))
    data, head = rechain(after)
    to.mkdir()
    (to / PUBLIC).write_bytes(data)
    (to / "HEAD").write_text(head + "\n")
    return to / PUBLIC


@pytest.mark.parametrize(
    ("change", "twice", "why"),
    [
        ({"epsilon": "3/2"}, False, "3/2 spent of a budget of 1"),
        ({"epsilon": "-1/2"}, False, "-1/2 spent"),
        ({"sensitivity": 10}, False, "is not that of the statistic"),
        ({"values": [10**9]}, False, "no such noise"),
        ({"values": [0, 0]}, False, "one for each"),
        ({}, True, "a second time"),
        ({"statistic": "gossip"}, False, "says nothing"),
        ({"period": "2016-06-22"}, False, "one of"),
    ],
)
def test_the_audit_finds_a_publication_that_the_budget_does_not_cover(
    tmp_path: Path, change: dict[str, object], twice: bool, why: str
) -> None:
    run = copy_of(rural1_private(), tmp_path / "run")
    journal = open_journal(run)
    chance = random.Random(1).randrange
    publish(journal, run, asked(), opened_terms(journal.entries())[0].grid.origin, "operator", chance)
    journal.close()
    Audit(run / PUBLIC).run()
    with pytest.raises((AuditError, JournalError, InputError), match=why):
        Audit(forged(run, tmp_path / "forged", change, twice)).run()
