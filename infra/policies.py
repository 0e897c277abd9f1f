"""What people may do: IAM policies ready to copy, as docs/security.md shows them. A test holds them against the calls
that the command `nightshift` and a deployment really make.
"""

import json
from collections.abc import Sequence
from typing import Any

from nightshift.declaration import function_name
from nightshift.declaration.names import DEAD_LETTERS, PLATFORM_FUNCTIONS

ACCOUNT, REGION, NAME = "111122223333", "eu-west-1", "nightshift"
"""What a reader replaces by their own."""

BUCKET = "FILES-BUCKET"
"""The file store's name: the output FilesBucketName of the platform's stack."""

NOT_FOR_PEOPLE = tuple(name for name in PLATFORM_FUNCTIONS if name not in ("console", "control"))
"""The functions that only AWS starts."""

QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-{DEAD_LETTERS}"

Statement = dict[str, Any]


def policies() -> dict[str, dict[str, Any]]:
    """Each policy by the name of whom it is for, from the one who may least on."""
    look = [_invoke("AskTheConsole", ["console"]), *_looking()]
    operate = [
        *look,
        _invoke("RunAndChange", ["*"]),
        {**_invoke("ButNotThePlatform", NOT_FOR_PEOPLE), "Effect": "Deny"},
        _allow(
            "DeadLetters",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:PurgeQueue"],
            [QUEUE],
        ),
    ]
    administer = [
        *look,
        _invoke("EveryFunction", ["*"]),
        operate[-1],
        _allow("Backups", ["s3:GetObject"], [f"arn:aws:s3:::{BUCKET}/backups/*"]),
        _allow("ListBackups", ["s3:ListBucket"], [f"arn:aws:s3:::{BUCKET}"]),
        _allow(
            "Rules",
            ["events:DescribeRule", "events:DisableRule", "events:EnableRule"],
            [_arn("events", f"rule/{NAME}-*")],
        ),
    ]
    stacks = f"stack/{NAME.capitalize()}-*/*"
    deploy = [
        _allow(
            "RolesOfTheBootstrap",
            ["sts:AssumeRole"],
            [f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-*-{ACCOUNT}-{REGION}"],
        ),
        _allow("StacksThatAreThere", ["cloudformation:DescribeStacks"], ["*"]),
        _allow("StacksThatAreNotWanted", ["cloudformation:DeleteStack"], [_arn("cloudformation", stacks)]),
    ]
    found = {"viewer": look, "operator": operate, "administrator": administer, "deployer": deploy}
    return {name: {"Version": "2012-10-17", "Statement": statements} for name, statements in found.items()}


def shown() -> str:
    """All of them, as the page has them."""
    parts = []
    for name, policy in policies().items():
        text = "\n".join(f"    {line}" for line in json.dumps(policy, indent=2).splitlines())
        parts.append(f"### {name.capitalize()}\n\n{text}")
    return "\n\n".join(parts)


def _looking() -> list[Statement]:
    return [
        _allow(
            "Logs",
            ["logs:FilterLogEvents", "logs:GetLogEvents", "logs:StartLiveTail"],
            [_arn("logs", f"log-group:/aws/lambda/{NAME}-*")],
        ),
        _allow("Alarms", ["cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "cloudwatch:GetMetricData"], ["*"]),
        # What `nightshift doctor` reads. AWS knows no resource for the first.
        _allow("Installation", ["events:ListRules", "lambda:GetAccountSettings", "lambda:ListFunctions"], ["*"]),
        _allow(
            "WhatWasDeployed",
            ["lambda:GetFunctionConfiguration"],
            [_arn("lambda", f"function:{function_name(each, NAME)}") for each in ("console", "dispatcher")],
        ),
        _allow(
            "Subscribers",
            ["sns:ListSubscriptionsByTopic"],
            [_arn("sns", f"{NAME}-{severity}") for severity in ("critical", "ordinary")],
        ),
        _allow("DeadLettersWaiting", ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"], [QUEUE]),
        _allow("MailAccount", ["ses:GetAccount"], ["*"]),
        _allow("MailSender", ["ses:GetEmailIdentity"], [_arn("ses", "identity/*")]),
    ]


def _invoke(sid: str, functions: Sequence[str]) -> Statement:
    return _allow(
        sid, ["lambda:InvokeFunction"], [_arn("lambda", f"function:{function_name(each, NAME)}") for each in functions]
    )


def _allow(sid: str, actions: list[str], resources: list[str]) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"
