//! One replicated group: openraft behind RateQueue's own facade.
