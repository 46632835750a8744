"""Where the inputs of tasks are, also when they are no longer in the buffer."""

from campaign.inputs.finder import InputFinder
from campaign.inputs.places import Answer, Gone, Places, Waiting
from campaign.inputs.recalls import RecallStatus
from campaign.inputs.recalls import statuses as recall_statuses

__all__ = ["Answer", "Gone", "InputFinder", "Places", "RecallStatus", "Waiting", "recall_statuses"]
