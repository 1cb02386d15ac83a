//! The queue between the stages: apalis over a narrow job store.
