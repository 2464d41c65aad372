"""The paths of the service, one file a resource."""

from api.routes import account, aliases, datasets, docs, health, jobs, models, predictions, trainings, versions

BLUEPRINTS = (
    account.routes,
    aliases.routes,
    datasets.routes,
    docs.routes,
    health.routes,
    jobs.routes,
    models.routes,
    predictions.routes,
    trainings.routes,
    versions.routes,
)
"""All of them."""
