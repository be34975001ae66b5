"""Microsoft Foundry and Azure OpenAI: the tiers of a training, and the deployment of what was tuned."""
