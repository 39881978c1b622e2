//! Empty on purpose: glommio declares `lockfree` and uses nothing of it.
