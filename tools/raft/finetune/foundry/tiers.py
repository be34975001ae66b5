"""The tiers in which Azure trains a model and deploys what was tuned: names, prices, which model has which.

Sources, read in copies of https://learn.microsoft.com/azure/foundry: fine-tuning/overview of 2026-10-06
(tiers, which model has them), openai/how-to/fine-tuning of 2026-10-05 (`trainingType`),
foundry-models/concepts/deployment-types of 2026-08 (names of deployments), fine-tuning/cost-management of
2026-03 (percentages, hourly price; that of 2026-10-05 refers to the price list instead).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from ...choices import DeploymentType, TrainingType
from ...errors import UserError
from ...models.lives import how_to_ignore, offered_types

# As Microsoft's samples write them. The name of a fourth tier, Data zone, is not documented.
TRAINING_NAMES: dict[TrainingType, str] = {
    "standard": "Standard",
    "global": "GlobalStandard",
    "developer": "developerTier",
}
DEPLOYMENT_NAMES: dict[DeploymentType, str] = {
    "standard": "Standard",
    "data-zone": "DataZoneStandard",
    "global": "GlobalStandard",
    "developer": "DeveloperTier",
}
DEVELOPER_HOURS = 24  # after which Azure deletes a Developer deployment, used or not

_TRAINING: dict[TrainingType, str] = {
    "standard": "tier standard: trained in the resource's own region, at the full price",
    "global": (
        "tier global: 10 to 30 % below standard (2026-03); data and weights are copied to the region that "
        "trains"
    ),
    "developer": (
        "tier developer: half of global (2026-03), on idle capacity: the job may be paused and resumed, and "
        "data and weights are copied to the region that trains"
    ),
}
_HOURLY = "by the hour (1.70 dollars in Microsoft's example of 2026-03), used or not, until --undeploy"
_DEPLOYMENT: dict[DeploymentType, str] = {
    "standard": f"its deployment costs tokens and hosting {_HOURLY}",
    "data-zone": f"its deployment costs tokens and hosting {_HOURLY}",
    "global": f"its deployment costs tokens and hosting {_HOURLY}",
    "developer": f"its deployment costs tokens only, and Azure deletes it after {DEVELOPER_HOURS} hours",
}


def describe_training(tier: TrainingType) -> str:
    """Return what a tier means for the price of a training, and for the data."""
    return _TRAINING[tier]


def describe_deployment(tier: DeploymentType) -> str:
    """Return what a deployment of this tier costs."""
    return _DEPLOYMENT[tier]


def check_training(model: str, tier: TrainingType, env: Mapping[str, str] | None = None) -> None:
    """Raise UserError if Azure does not train the model in this tier, naming those in which it does."""
    offered = offered_types(model, "training_types", env=env)
    if offered and tier not in offered:
        raise UserError(
            f"{model} at Azure is not trained in the tier {tier}: use --training-type {' or '.join(offered)} "
            f"{how_to_ignore()}"
        )


def check_deployment(model: str, tier: DeploymentType, env: Mapping[str, str] | None = None) -> None:
    """Raise UserError if Azure does not deploy what was tuned from the model in this tier."""
    offered = offered_types(model, "deployment_types", env=env)
    if offered == ():
        raise UserError(
            f"what is tuned from {model} at Azure is deployed on managed compute or Fireworks only: leave "
            f"--deploy out, and deploy it in the Foundry portal {how_to_ignore()}"
        )
    if offered and tier not in offered:
        raise UserError(
            f"what is tuned from {model} at Azure is not deployed as {tier}: use --deployment-type "
            f"{' or '.join(offered)} {how_to_ignore()}"
        )


def explain_refusal(model: str, tier: TrainingType | None, env: Mapping[str, str] | None = None) -> str:
    """Return what to try after Azure has refused a job.

    "The specified base model does not support fine-tuning" is its reply also where the model is tuned, but
    not in this tier, or not in the resource's region (github.com/BerriAI/litellm/pull/24687, 2026-03).
    """
    offered = offered_types(model, "training_types", env=env) or get_args(TrainingType)
    others = [other for other in offered if other != tier]
    asked = f"in the tier {tier}" if tier else "without a tier"
    return f"Azure trains {model} {asked} not at all, not any more, or not in this resource's region" + (
        f": try --training-type {' or '.join(others)}" if others else ""
    )
