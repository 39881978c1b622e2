//! Empty on purpose: glommio declares `bitmaps` and uses nothing of it.
