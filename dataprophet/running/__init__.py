"""The whole job, from datasets to mixtures: a recipe says what it is, ``run`` does it, ``init`` writes a first one."""
