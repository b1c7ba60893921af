//! The programs' links: attached once, pinned, their programs replaced at each start.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, Program,
        ProgramError, SockOps, links::FdLink,
    },
};

use super::{InterceptError, cgroup, kernel, loader, pin_dir::PinDir};

/// How a program is attached.
#[derive(Clone, Copy)]
enum Kind {
    Sock,
    SockAddr,
    SockOps,
    Egress,
}

/// All programs, in the order in which they are put in place: what a redirect needs comes before
/// the redirect.
const PROGRAMS: [(&str, Kind); 11] = [
    ("connection_state", Kind::SockOps),
    ("getpeername4", Kind::SockAddr),
    ("getpeername6", Kind::SockAddr),
    ("bind4", Kind::SockAddr),
    ("bind6", Kind::SockAddr),
    ("socket_made", Kind::Sock),
    ("connect4", Kind::SockAddr),
    ("connect6", Kind::SockAddr),
    ("sendmsg4", Kind::SockAddr),
    ("sendmsg6", Kind::SockAddr),
    ("egress", Kind::Egress),
];

/// Puts the programs of `ebpf` in place at the cgroup `root`, whose id is `root_id`.
///
/// All of them are loaded before the first is put in place. Where a pinned link exists, its
/// program is replaced in one step, so that at no moment an event goes unjudged; links of an
/// earlier version that this one does not know are removed last.
pub(super) fn install(
    ebpf: &mut Ebpf,
    pins: &PinDir,
    root: &Path,
    root_id: u64,
) -> Result<(), InterceptError> {
    for (name, kind) in PROGRAMS {
        load(program(ebpf, name)?, kind).map_err(failed("load", name))?;
    }
    let cgroup = File::open(root).map_err(|source| InterceptError::Cgroup {
        action: "open",
        path: root.to_owned(),
        source,
    })?;
    let mut wanted = Vec::with_capacity(PROGRAMS.len());
    for (name, kind) in PROGRAMS {
        let pin = pin_name(name, root_id);
        let program = program(ebpf, name)?;
        if !replace(program, &pins.path().join(&pin)).map_err(failed("replace", name))? {
            if pins.names()?.contains(&pin) {
                remove(pins, &pin)?;
            }
            attach(program, kind, &cgroup)
                .map_err(failed("attach", name))?
                .pin(pins.path().join(&pin))
                .map_err(failed("pin", name))?;
        }
        wanted.push(pin);
    }
    for name in pins.names()? {
        if !wanted.contains(&name) {
            remove(pins, &name)?;
        }
    }
    Ok(())
}

/// A program as it is in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// At the root of the cgroups.
    Attached,
    /// Its link is there, and leads nowhere.
    Detached,
    /// It is not there.
    Missing,
}

/// All programs, and how each of them is in the kernel. Changes nothing.
pub fn attachments(pin_dir: &Path) -> Result<Vec<(&'static str, Attachment)>, InterceptError> {
    let root = cgroup::find_root()?;
    let root_id = cgroup::reachable_id(&root, &root)?;
    PROGRAMS
        .iter()
        .map(|(name, _)| {
            let path = pin_dir.join(pin_name(name, root_id));
            let found = kernel::open_pin(&path).and_then(|link| kernel::link_cgroup(link.as_fd()));
            match found {
                Ok(id) if id == root_id => Ok((*name, Attachment::Attached)),
                Ok(_) => Ok((*name, Attachment::Detached)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Ok((*name, Attachment::Missing))
                }
                Err(source) => Err(InterceptError::PinDir {
                    action: "look at a program in",
                    path,
                    source,
                }),
            }
        })
        .collect()
}

/// Has the kernel verify every program, and attaches none.
pub fn probe() -> Result<(), InterceptError> {
    let (mut ebpf, _maps) = loader::load()?;
    for (name, kind) in PROGRAMS {
        load(program(&mut ebpf, name)?, kind).map_err(failed("load", name))?;
    }
    Ok(())
}

/// The cgroup is part of the name: a link to another cgroup is another link.
fn pin_name(program: &str, root_id: u64) -> String {
    format!("{program}-{root_id:x}")
}

/// Removes every program and the pin directory: afterwards **nothing is intercepted**. For
/// uninstalling; a daemon that stops leaves its programs in place. Fails if a daemon is running.
pub fn detach_all(pin_dir: &Path) -> Result<(), InterceptError> {
    if !pin_dir.try_exists().unwrap_or(false) {
        return Ok(());
    }
    let pins = PinDir::open(pin_dir)?;
    for name in pins.names()? {
        remove(&pins, &name)?;
    }
    fs::remove_dir(pin_dir).map_err(|source| InterceptError::PinDir {
        action: "remove",
        path: pin_dir.to_owned(),
        source,
    })
}

/// Replaces the program of the pinned link. `false` if there is no such link, or if it was
/// detached from its cgroup.
fn replace(program: &Program, pin: &Path) -> io::Result<bool> {
    let link = match kernel::open_pin(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let fd: BorrowedFd<'_> = program.fd().map_err(io::Error::other)?.as_fd();
    match kernel::update_link(link.as_fd(), fd) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Detaches a pinned link, and removes its pin.
fn remove(pins: &PinDir, name: &str) -> Result<(), InterceptError> {
    let path = pins.path().join(name);
    let detached = kernel::open_pin(&path).and_then(|link| kernel::detach_link(link.as_fd()));
    match detached {
        Ok(()) => {}
        // Detached before.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
        Err(source) => {
            return Err(InterceptError::PinDir {
                action: "detach a program from",
                path,
                source,
            });
        }
    }
    pins.unpin(name)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, InterceptError> {
    ebpf.program_mut(name).ok_or(InterceptError::Missing {
        kind: "program",
        name,
    })
}

fn load(program: &mut Program, kind: Kind) -> Result<(), ProgramError> {
    match kind {
        Kind::Sock => <&mut CgroupSock>::try_from(program)?.load(),
        Kind::SockAddr => <&mut CgroupSockAddr>::try_from(program)?.load(),
        Kind::SockOps => <&mut SockOps>::try_from(program)?.load(),
        Kind::Egress => <&mut CgroupSkb>::try_from(program)?.load(),
    }
}

/// `Single` is what aya calls the mode in which links of several programs coexist; the mode it
/// calls `AllowMultiple` the kernel refuses for links.
fn attach(program: &mut Program, kind: Kind, cgroup: &File) -> Result<FdLink, ProgramError> {
    let mode = CgroupAttachMode::Single;
    let link = match kind {
        Kind::Sock => {
            let program: &mut CgroupSock = program.try_into()?;
            let id = program.attach(cgroup, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
        Kind::SockAddr => {
            let program: &mut CgroupSockAddr = program.try_into()?;
            let id = program.attach(cgroup, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
        Kind::SockOps => {
            let program: &mut SockOps = program.try_into()?;
            let id = program.attach(cgroup, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
        Kind::Egress => {
            let program: &mut CgroupSkb = program.try_into()?;
            let id = program.attach(cgroup, CgroupSkbAttachType::Egress, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
    };
    link.map_err(|error| ProgramError::IOError(io::Error::other(error)))
}

fn failed<E: std::error::Error + Send + Sync + 'static>(
    action: &'static str,
    program: &'static str,
) -> impl FnOnce(E) -> InterceptError {
    move |source| InterceptError::Program {
        action,
        program,
        source: Box::new(source),
    }
}
