"""What IAM makes of a request: a small evaluator of identity policies.

It knows what terraform/ uses of the policy language (AWS, "Policy evaluation logic" and "Condition
operators"), and refuses the rest instead of guessing. A statement with a policy variable that the
request does not have applies to nothing, be it an Allow or a Deny: that is the worst case for whoever
counts on a Deny.
"""

import json
import re


class Unknown(Exception):
    """Something of the policy language that is not known here."""


def is_allowed(policies, action, resource, context=None):
    """Whether the policies together allow `action` on `resource`; a Deny wins, silence denies."""
    context = {key.lower(): value for key, value in (context or {}).items()}
    effects = {
        it["Effect"]
        for policy in policies
        for it in statements(policy)
        if applies(it, action, resource, context)
    }
    return "Allow" in effects and "Deny" not in effects


def statements(policy):
    policy = json.loads(policy) if isinstance(policy, str) else policy
    return many(policy["Statement"])


def many(value):
    return value if isinstance(value, list) else [value]


def applies(statement, action, resource, context):
    if {"NotAction", "NotResource", "NotPrincipal"} & statement.keys():
        raise Unknown(f"statement {statement}")
    if not any(matches(pattern.lower(), action.lower()) for pattern in many(statement["Action"])):
        return False
    try:
        if "Resource" in statement:
            patterns = [filled(pattern, context) for pattern in many(statement["Resource"])]
            if not any(matches(pattern, resource) for pattern in patterns):
                return False
        return all(
            holds(operator, key.lower(), many(values), context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    except KeyError:
        return False


def filled(text, context):
    """A text with its policy variables replaced; a `KeyError` when the request lacks one."""
    return re.sub(r"\$\{([^}]+)\}", lambda found: many(context[found[1].lower()])[0], text)


def matches(pattern, text):
    """Whether a text is of a pattern with `*` and `?`."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text, re.S) is not None


COMPARISONS = {
    "StringEquals": lambda wanted, found: wanted == found,
    "StringLike": matches,
    "ArnEquals": matches,
    "ArnLike": matches,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
}
NEGATED = {"StringNotEquals": "StringEquals", "StringNotLike": "StringLike", "ArnNotEquals": "ArnEquals"}


def holds(operator, key, wanted, context):
    """Whether one condition holds."""
    present = key in context and context[key] not in (None, [])
    if operator == "Null":
        return (wanted[0].lower() == "true") != present
    for_all = operator.startswith("ForAllValues:")
    operator = operator.removeprefix("ForAllValues:")
    if operator.endswith("IfExists"):
        operator = operator.removesuffix("IfExists")
        if not present:
            return True
    is_negated = operator in NEGATED
    compare = COMPARISONS.get(NEGATED.get(operator, operator))
    if compare is None:
        raise Unknown(f"operator {operator}")
    wanted = [filled(value, context) for value in wanted]
    if not present:
        # No value is no counter-example; for one value the absence is a mismatch.
        return for_all or is_negated
    found = [str(value) for value in many(context[key])]
    if len(found) > 1 and not for_all:
        raise Unknown(f"several values of {key} without a set operator")
    fits = [any(compare(one, value) for one in wanted) for value in found]
    return not any(fits) if is_negated else all(fits)
