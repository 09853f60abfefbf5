"""The use cases of costs: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.costs.organization_usage import ReadBudget, ReadUsage, SetBudget
from application.evaluation.ports.judging import JudgingPorts
from application.identity.organization_edit import OrganizationEditor
from application.identity.ports import Directory, Projects


@dataclass(frozen=True, slots=True, kw_only=True)
class CostUseCases:
    """The use cases of costs."""

    read_usage: ReadUsage
    read_budget: ReadBudget
    set_budget: SetBudget

    @classmethod
    def over(
        cls,
        judging: JudgingPorts,
        projects: Projects,
        directory: Directory,
        editor: OrganizationEditor,
    ) -> Self:
        clock = editor.clock
        return cls(
            read_usage=ReadUsage(directory, judging.ledger, clock),
            read_budget=ReadBudget(projects, judging.budgets, judging.ledger, clock),
            set_budget=SetBudget(editor, judging.ledger),
        )
