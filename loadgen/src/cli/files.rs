//! The files a command leaves: interval logs and plots.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;

use crate::report::Report;
use crate::report::plot::{self, Curve};

pub(super) fn write_hlog(path: &Path, report: &Report) -> anyhow::Result<()> {
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        report.write_hlog(&mut out)?;
        out.flush()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

pub(super) fn write_svg(path: &Path, title: &str, curves: &[Curve]) -> anyhow::Result<()> {
    let svg = plot::svg(title, curves)?;
    fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}
