"""The use cases of datasets: a part of `application.use_cases`."""

from application.deletion import DeleteOne
from application.evaluation.datasets import copy_traces, datasets
from application.evaluation.use_cases import EvaluationPorts
from application.ports import Clock
from application.tracing.ports import Traces


class DatasetUseCases:
    """Datasets. Reads call the port itself."""

    def __init__(self, ports: EvaluationPorts, traces: Traces, clock: Clock) -> None:
        writer = datasets.ItemWriter(ports.datasets, clock)
        self.datasets = ports.datasets
        self.create_dataset = datasets.CreateDataset(ports.datasets, clock)
        self.describe_dataset = datasets.DescribeDataset(ports.datasets, clock)
        self.delete_dataset = DeleteOne(ports.datasets.delete, "Dataset not found")
        self.list_items = datasets.ListItems(ports.datasets)
        self.write_items = writer.write
        self.delete_item = datasets.DeleteItem(ports.datasets, clock)
        self.copy_traces = copy_traces.CopyTraces(
            writer, traces, ports.targets, ports.labels, clock
        )
