"""The use cases of costs: a part of `application.use_cases`."""

from application.costs.organization_usage import (
    ReadBudget,
    ReadLimits,
    ReadUsage,
    SetBudget,
    SetLimits,
)
from application.evaluation.ports.judging import JudgingPorts
from application.identity.organization_edit import OrganizationEditor
from application.identity.use_cases import IdentityPorts


class CostUseCases:
    """Usage and budgets."""

    def __init__(
        self, judging: JudgingPorts, identity: IdentityPorts, editor: OrganizationEditor
    ) -> None:
        clock, ledger = editor.clock, judging.ledger
        self.read_usage = ReadUsage(identity.directory, ledger, clock)
        self.read_budget = ReadBudget(identity.projects, judging.budgets, ledger, clock)
        self.set_budget = SetBudget(editor, ledger)
        self.read_limits = ReadLimits(identity.directory, judging.budgets, ledger, clock)
        self.set_limits = SetLimits(editor, identity.directory, judging.budgets, ledger)
