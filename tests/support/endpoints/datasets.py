"""Datasets: items, versions, import and export."""

from tests.support.endpoints.spec import (
    EVALUATE,
    EVALUATE_AND_READ,
    PAGE,
    READ,
    Audit,
    EndpointSpec,
    beyond_contract,
)

DATASETS = "/datasets"
ONE = f"{DATASETS}/{{dataset_name}}"
ITEM = {
    "id": "{text}",
    "input": {"text": "{text}"},
    "expected": "{text}",
    "metadata": {"text": "{text}"},
    "split": "{text}",
    "from_trace": "{trace_id}",
}
ENDPOINTS = beyond_contract(
    EndpointSpec(
        f"POST {DATASETS}",
        EVALUATE,
        201,
        body={"name": "{dataset_name}", "description": "{text}"},
        words={"dataset_name": "another"},
        constrained=("name",),
        takes_key=True,
        audit=Audit("dataset.created", detail={"name": "another"}),
    ),
    EndpointSpec(f"GET {DATASETS}", READ, 200, shows_more=True),
    EndpointSpec(f"GET {ONE}", READ, 200),
    EndpointSpec(
        f"PATCH {ONE}",
        EVALUATE_AND_READ,
        200,
        body={"description": "{text} again"},
        audit=Audit("dataset.changed", "dataset_name"),
    ),
    EndpointSpec(
        f"DELETE {ONE}",
        EVALUATE,
        204,
        other_statuses={409},
        audit=Audit("dataset.deleted", "dataset_name"),
    ),
    EndpointSpec(f"GET {ONE}/versions", READ, 200, shows_more=True),
    EndpointSpec(
        f"POST {ONE}/items/batch", EVALUATE, 200, body={"items": [ITEM]}, other_statuses={409}
    ),
    EndpointSpec(
        f"POST {ONE}/items/from-traces",
        EVALUATE,
        200,
        body={
            "filters": {"session_id": "{session_id}", "user_id": "{reader}"},
            "expected": "output",
            "split": "{text}",
        },
        constrained=("filters",),
        excluded=("trace_ids", "annotation_queue"),
        other_statuses={409},
        variants=({"body": {"trace_ids": ["{trace_id}"]}},),
    ),
    EndpointSpec(f"GET {ONE}/items", READ, 200, query=f"{PAGE}&split={{text}}"),
    EndpointSpec(
        f"DELETE {ONE}/items/{{item_id}}",
        EVALUATE,
        204,
        other_statuses={409},
        audit=Audit("dataset.item_deleted", "dataset_name"),
    ),
    EndpointSpec(
        f"GET {ONE}/export",
        READ,
        200,
        query="format=csv",
        audit=Audit("dataset.exported", "dataset_name"),
        is_file=True,
    ),
)
