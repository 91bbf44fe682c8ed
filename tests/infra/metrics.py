"""The names of metrics: those that the coordinator emits, and those that dashboard and alarms show."""

import json
import re

from calls import production
from workspace import REPOSITORY

# The function has no queue that lives on between two invocations; `run` alone tells these.
OF_RUN_ALONE = {"queue_age_seconds", "queue_length"}


def emitted():
    """{name: labels} that the function prints, as the code has them."""
    text = production((REPOSITORY / "coordinator/src/metrics.rs").read_text())
    calls = re.findall(r'\b(?:counters|one|gauge)\(\s*"(\w+)"', text)
    names = set(calls) | set(re.findall(r'\bname: "(\w+)"', text))
    return names - OF_RUN_ALONE


def namespace():
    text = (REPOSITORY / "coordinator/src/metrics/emf.rs").read_text()
    return re.search(r'const NAMESPACE: &str = "(\w+)"', text)[1]


def shown(applied):
    """What the dashboard shows of Bailey's own metrics."""
    body = json.loads(applied.one("aws_cloudwatch_dashboard")["dashboard_body"])
    found = set()
    for widget in body["widgets"]:
        for metric in widget["properties"]["metrics"]:
            if isinstance(metric[0], dict):
                found |= set(re.findall(r'MetricName="(\w+)"', metric[0]["expression"]))
            elif metric[0] == namespace():
                found.add(metric[1])
    return found


def watched(applied):
    """What alarms look at of Bailey's own metrics."""
    found = set()
    for _, values in applied.of("aws_cloudwatch_metric_alarm"):
        if values["namespace"] == namespace():
            found.add(values["metric_name"])
        for query in values["metric_query"]:
            found |= set(re.findall(rf"SELECT \w+\((\w+)\) FROM SCHEMA\({namespace()},", query["expression"]))
    return found


def compared(applied):
    """Metrics that nobody emits, and such as nobody shows."""
    return (
        [f"the dashboard shows {name}, which nobody emits" for name in sorted(shown(applied) - emitted())]
        + [f"an alarm looks at {name}, which nobody emits" for name in sorted(watched(applied) - emitted())]
        + [f"{name} is emitted and not shown" for name in sorted(emitted() - shown(applied))]
    )
