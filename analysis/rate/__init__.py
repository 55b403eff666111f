"""Rate: likelihoods, mutual information, codebook usage, and how the KL term develops."""
