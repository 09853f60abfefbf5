"""The use cases of experiments: a part of `application.use_cases`."""

from application.deletion import DeleteOne
from application.evaluation.experiments import compare, compare_groups, experiments
from application.evaluation.runs.requests import RunFactory
from application.evaluation.use_cases import EvaluationPorts
from application.ports import Clock


class ExperimentUseCases:
    """Experiments. Some reads and the write of results call the port itself."""

    def __init__(self, ports: EvaluationPorts, run_factory: RunFactory, clock: Clock) -> None:
        self.experiments = ports.experiments
        self.create_experiment = experiments.CreateExperiment(
            ports.experiments, ports.datasets, run_factory, clock
        )
        self.close_experiment = experiments.CloseExperiment(ports.experiments, run_factory, clock)
        self.read_experiment = experiments.ReadExperiment(
            ports.experiments, ports.runs, ports.judging.ledger
        )
        self.read_items = experiments.ReadExperimentItems(
            ports.experiments, ports.datasets, ports.runs
        )
        self.compare_experiments = compare.CompareExperiments(
            ports.experiments, ports.runs, ports.labels, ports.judging.ledger
        )
        self.compare_groups = compare_groups.CompareTraceGroups(ports.trace_groups)
        self.delete_experiment = DeleteOne(ports.experiments.delete, "Experiment not found")
