//! Users and groups of the image, by number or name.

use super::Place;
use std::{fs, io, path::PathBuf};

/// As whom a process runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The other groups that name this user as a member.
    pub(super) groups: Vec<u32>,
}

/// Resolves `user` or `user:group` with the image's `/etc/passwd` and `/etc/group`, as containers do:
/// a user without a group has that of its entry, or group 0.
pub(super) fn resolve(text: &str, place: &Place) -> Result<Identity, UserError> {
    let passwd = read(place.path("/etc/passwd"))?;
    let group = read(place.path("/etc/group"))?;
    identity(text, &passwd, &group)
}

/// Absent files hold no names; numbers do without them.
fn read(path: PathBuf) -> Result<String, UserError> {
    match fs::read(&path) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(UserError::Read { path, source }),
    }
}

fn identity(text: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, group_name) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let users = || passwd.lines().filter_map(User::parse);
    let number: Option<u32> = user.parse().ok();
    let known = users().find(|one| one.name == user || number == Some(one.uid));
    let uid = number.or_else(|| known.map(|one| one.uid));
    let uid = uid.ok_or_else(|| UserError::User { name: user.to_owned() })?;
    let groups = || group.lines().filter_map(Group::parse);
    let gid = match group_name {
        None => known.map_or(0, |one| one.gid),
        Some(name) => name
            .parse()
            .ok()
            .or_else(|| groups().find(|one| one.name == name).map(|one| one.gid))
            .ok_or_else(|| UserError::Group { name: name.to_owned() })?,
    };
    let member = |one: &Group<'_>| {
        known.is_some_and(|known| one.members.split(',').any(|name| name == known.name))
    };
    // Whoever names a group asks for that one alone.
    let others = if group_name.is_some() {
        Vec::new()
    } else {
        groups().filter(member).map(|one| one.gid).collect()
    };
    Ok(Identity { uid, gid, groups: others })
}

/// A line of `/etc/passwd`.
#[derive(Clone, Copy)]
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    }
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, gid, members) = (fields.next()?, fields.nth(1)?, fields.next().unwrap_or(""));
        Some(Self { name, gid: gid.parse().ok()?, members })
    }
}

/// Why a text is no user of the image.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("the image's /etc/group has no group `{name}`")]
    Group { name: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the image's /etc/passwd has no user `{name}`")]
    User { name: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/:/bin/false\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nusers:x:100:root,app\ndocker:x:7:app";

    fn found(text: &str) -> Result<(u32, u32, Vec<u32>), String> {
        identity(text, PASSWD, GROUP)
            .map(|Identity { uid, gid, groups }| (uid, gid, groups))
            .map_err(|err| err.to_string())
    }

    #[test]
    fn names_and_numbers_are_resolved_as_containers_do() {
        assert_eq!(found("app"), Ok((1000, 1001, vec![100, 7])));
        assert_eq!(found("1000"), Ok((1000, 1001, vec![100, 7])));
        assert_eq!(found("app:users"), Ok((1000, 100, vec![])));
        assert_eq!(found("app:5"), Ok((1000, 5, vec![])));
        assert_eq!(found("4000"), Ok((4000, 0, vec![])));
        assert_eq!(found("0:0"), Ok((0, 0, vec![])));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(found("nobody"), Err("the image's /etc/passwd has no user `nobody`".into()));
        assert_eq!(found("app:wheel"), Err("the image's /etc/group has no group `wheel`".into()));
        assert!(found("").is_err() && found(":").is_err() && found("-1").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}", passwd in "[a:0-9\n,]{0,60}", group in "[a:0-9\n,]{0,60}") {
            let _ = identity(&text, &passwd, &group);
        }
    }
}
