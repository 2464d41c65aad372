"""The paths of the service, one file a resource."""

from api.routes import (
    account,
    aliases,
    cards,
    collections,
    datasets,
    deliveries,
    deployments,
    docs,
    files,
    health,
    jobs,
    models,
    openapi,
    predictions,
    streams,
    trainings,
    versions,
    webhooks,
)

BLUEPRINTS = (
    account.routes,
    aliases.routes,
    cards.routes,
    collections.routes,
    datasets.routes,
    deliveries.routes,
    deployments.routes,
    docs.routes,
    files.routes,
    health.routes,
    jobs.routes,
    models.routes,
    openapi.routes,
    predictions.routes,
    streams.routes,
    trainings.routes,
    versions.routes,
    webhooks.routes,
)
"""All of them."""
