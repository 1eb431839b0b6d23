//! Properties of the whole: whatever happens on the way, the world ends as last asked for.
