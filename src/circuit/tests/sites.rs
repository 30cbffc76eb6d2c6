//! What truths say of sites.
