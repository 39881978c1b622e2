//! Files that fix what the checks find. They are part of the program, so that an operator without
//! the sources can print and install them.
//!
//! Every setting has a comment directly above it that says why; a test holds the files to that.

/// One file of `tuning/profiles/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Path below `tuning/profiles/`, and what findings call it.
    pub name: &'static str,
    /// Where it is installed; nothing for a file that is only read.
    pub install_as: Option<&'static str>,
    pub text: &'static str,
}

pub const SYSCTL: Profile = Profile {
    name: "sysctl.conf",
    install_as: Some("/etc/sysctl.d/60-mpreg.conf"),
    text: include_str!("../profiles/sysctl.conf"),
};

pub const LIMITS: Profile = Profile {
    name: "limits.conf",
    install_as: Some("/etc/security/limits.d/60-mpreg.conf"),
    text: include_str!("../profiles/limits.conf"),
};

pub const UNIT: Profile = Profile {
    name: "mpreg.service.d/override.conf",
    install_as: Some("/etc/systemd/system/mpreg.service.d/override.conf"),
    text: include_str!("../profiles/mpreg.service.d/override.conf"),
};

pub const TMPFILES: Profile = Profile {
    name: "tmpfiles.conf",
    install_as: Some("/etc/tmpfiles.d/mpreg.conf"),
    text: include_str!("../profiles/tmpfiles.conf"),
};

pub const DOCKER: Profile = Profile {
    name: "docker-seccomp.md",
    install_as: None,
    text: include_str!("../profiles/docker-seccomp.md"),
};

pub const ALL: [Profile; 5] = [SYSCTL, LIMITS, UNIT, TMPFILES, DOCKER];

/// The profile a finding refers to.
pub fn by_name(name: &str) -> Option<Profile> {
    ALL.into_iter().find(|profile| profile.name == name)
}

#[cfg(test)]
mod tests;
