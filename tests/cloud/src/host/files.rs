//! The files that an image would bring: the agent's configuration, and nitro-cli.

use super::HostOptions;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use toml::Value;

/// The file whose appearance means that the host was powered off.
pub(super) const POWEROFF: &str = "poweroff";

/// Writes the files of a host that boots.
pub(super) fn write(options: &HostOptions, dir: &Path, imds_url: &str) -> io::Result<()> {
    match fs::remove_file(dir.join(POWEROFF)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let id = dir.file_name().unwrap_or_default().to_string_lossy();
    let log = options.log(&id, "nitro-cli.log");
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent)?;
    }
    let nitro_cli = dir.join("nitro-cli");
    fs::write(&nitro_cli, nitro_cli_script(&options.nitro_cli, &log))?;
    fs::set_permissions(&nitro_cli, fs::Permissions::from_mode(0o755))?;
    fs::write(dir.join("agent.toml"), agent_config(options, dir, imds_url).to_string())
}

/// Notes what it was asked for, which tells a test whether an enclave was ever launched.
fn nitro_cli_script(nitro_cli: &Path, log: &Path) -> String {
    format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >>{}\nexec {} \"$@\"\n",
        quoted(log),
        quoted(nitro_cli)
    )
}

/// A path as one word of a shell's command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// The agent's configuration; the tables come by the instance's user data, as in the cloud.
fn agent_config(options: &HostOptions, dir: &Path, imds_url: &str) -> toml::Table {
    let path = |path: PathBuf| Value::String(path.display().to_string());
    let words = |words: Vec<Value>| Value::Array(words);
    let mut config = toml::Table::from_iter(
        [
            ("nitro_cli", path(dir.join("nitro-cli"))),
            ("allocator_command", words(vec![path(options.allocator.clone())])),
            ("poweroff_command", words(vec!["touch".into(), path(dir.join(POWEROFF))])),
            ("allocator_file", path(dir.join("etc/allocator.yaml"))),
            ("facts_root", path(dir.join("root"))),
            ("state_dir", path(dir.join("state"))),
            ("vsock", format!("unix:{}", dir.join("vsock").display()).into()),
            ("imds_endpoint", imds_url.into()),
            ("trusted_root", path(options.trusted_root.clone())),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    config.extend(options.agent_settings.clone());
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_stays_one_word() {
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
