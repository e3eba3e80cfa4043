"""Every claim of the paper, judged by what one run has measured."""

from groundscope.report.findings import Claim, claims
from groundscope.report.findings_behaviour import ablation_claims
from groundscope.report.run import Run
from groundscope.report.sections_mechanism import claims_on_mechanism


def claims_of(run: Run) -> list[Claim]:
    """Return the claims on behaviour, on co-occurrence removed, and on mechanism, in the paper's order."""
    return [
        *claims(run.conclusions, run.evidence, run.recurrent, run.negligible, run.contrasts),
        *ablation_claims(run.table("dose"), run.negligible, run.table("dose_conclusions")),
        *claims_on_mechanism(run),
    ]
