//! Carries out one action as one call, journalled.
