"""Every error that a user can meet, with the exit code of `fab` that it brings."""

from .kinds import (
    ConnectionFailed,
    ContractFailed,
    DeployError,
    Interrupted,
    Locked,
    PublishFailed,
    RequestsFailed,
    SettingsError,
    StepFailed,
)

__all__ = [
    "ConnectionFailed",
    "ContractFailed",
    "DeployError",
    "Interrupted",
    "Locked",
    "PublishFailed",
    "RequestsFailed",
    "SettingsError",
    "StepFailed",
]
