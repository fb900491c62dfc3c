//! Delivery to a folder on this host.
//!
//! ```text
//! DIR/current -> versions/000002            switched by one rename: key and certificate change together
//! DIR/fullchain.pem -> current/fullchain.pem    and so cert.pem, chain.pem, privkey.pem, keystore.p12
//! DIR/versions/000001/…                     the last three are kept
//! ```
//! INVARIANT: a version's folder is complete and on disk before `current` points at it, and is never changed afterwards.
//! This file never decides *whether* a folder may be written to; [`Roots`] does, from the server's configuration.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Component, Path, PathBuf};

use openssl::pkey::PKey;
use openssl::x509::X509;

use crate::error::{Error, Result};
use crate::program::Owner;
use crate::secret::Secret;
use crate::wire;
use crate::x509::bundle;

const KEPT: usize = 3;
const MAX_PASSWORD_BYTES: u64 = 4096;
/// What an index of PostgreSQL takes, with room.
const MAX_FOLDER_BYTES: usize = 1024;
const VERSIONS: &str = "versions";
const CURRENT: &str = "current";

/// The folders below which certificates may be delivered, and passwords read. SECURITY: whoever may change a certificate
/// object chooses the paths, so the server's configuration has to bound that choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// For folders to deliver to.
    pub delivery: Vec<PathBuf>,
    /// For the password files of key stores.
    pub passwords: Vec<PathBuf>,
}

impl Roots {
    /// Whether `dir` may be delivered to.
    ///
    /// # Errors
    /// `Invalid` if it is not absolute, has `..` in it, or lies below none of the roots.
    pub fn admit(&self, dir: &Path) -> Result<()> {
        admit(dir, &self.delivery, "`lifecycle.delivery_roots`", "deliver to")
    }

    /// Whether `file` may be read as a password.
    ///
    /// # Errors
    /// As [`Roots::admit`].
    fn admit_password(&self, file: &Path) -> Result<()> {
        admit(
            file,
            &self.passwords,
            "`lifecycle.password_roots`",
            "read passwords from",
        )
    }

    /// With every symbolic link resolved; a root that is not there admits nothing.
    fn real(&self) -> Self {
        let real = |roots: &[PathBuf]| roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
        Self {
            delivery: real(&self.delivery),
            passwords: real(&self.passwords),
        }
    }
}

fn admit(path: &Path, roots: &[PathBuf], setting: &str, purpose: &str) -> Result<()> {
    let plain = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    if !plain {
        return Err(Error::invalid(format!(
            "the server cannot {purpose} `{}`: give an absolute path without `..`",
            path.display()
        )));
    }
    if roots.iter().any(|root| path.starts_with(root)) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the server may not {purpose} `{}`: add a folder above it to {setting} in its configuration",
        path.display()
    )))
}

/// `dir` as no other path names it: every link on the way is followed, as far as it is there.
///
/// # Errors
/// `Invalid` if that cannot be told, or is too long to be looked up.
pub fn folder(dir: &Path) -> Result<String> {
    let cannot = |why: String| Error::invalid(format!("the server cannot deliver to `{}`: {why}", dir.display()));
    let real: PathBuf = leads_to(dir).map_err(|e| cannot(e.to_string()))?.components().collect();
    match real.into_os_string().into_string() {
        Ok(real) if real.len() <= MAX_FOLDER_BYTES => Ok(real),
        Ok(_) => Err(cannot(format!("its path is longer than {MAX_FOLDER_BYTES} bytes"))),
        Err(_) => Err(cannot("its path is not text".to_owned())),
    }
}

/// Those folders whose delivery and that to `folder` would be in each other's way: itself, and those whose versions it
/// lies among.
pub fn rivals(folder: &str) -> Vec<String> {
    let path = Path::new(folder);
    let among = path
        .ancestors()
        .filter(|above| above.ends_with(VERSIONS))
        .filter_map(Path::parent);
    std::iter::once(path)
        .chain(among)
        .map(|path| path.display().to_string())
        .collect()
}

/// Where `path` leads once every link on the way is followed, as far as it is there.
fn leads_to(path: &Path) -> io::Result<PathBuf> {
    for there in path.ancestors() {
        match there.canonicalize() {
            Ok(real) => return Ok(real.join(path.strip_prefix(there).unwrap_or_else(|_| Path::new("")))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// The password in a file. SECURITY: the path is a caller's choice: no device, no pipe, no link, and not without end.
fn password(file: &Path, roots: &Roots) -> Result<Secret> {
    roots.admit_password(file)?;
    let cannot = |e: io::Error| Error::invalid(format!("the password file `{}` cannot be read: {e}", file.display()));
    let real = file.canonicalize().map_err(cannot)?;
    roots.real().admit_password(&real)?;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(&real)
        .map_err(cannot)?;
    if !opened.metadata().map_err(cannot)?.is_file() {
        return Err(Error::invalid(format!(
            "the password file `{}` is not a file",
            file.display()
        )));
    }
    let mut bytes = Vec::new();
    opened
        .take(MAX_PASSWORD_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    let read = Secret::new(bytes);
    let line = read.expose().strip_suffix(b"\n").unwrap_or_else(|| read.expose());
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || read.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(Error::invalid(format!(
            "the password in `{}` is empty or longer than {MAX_PASSWORD_BYTES} bytes",
            file.display()
        )));
    }
    Ok(Secret::new(line.to_vec()))
}

/// What a certificate object says about its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDelivery {
    /// The folder; made if it is missing.
    pub dir: PathBuf,
    /// `user` or `user:group`, as names of this host or as numbers.
    pub owner: Option<String>,
    /// Mode of the files that hold the private key, in octal.
    pub key_mode: String,
    /// The password of `keystore.p12`, which is written only if this is given.
    pub p12_password_file: Option<PathBuf>,
}

impl From<&wire::Deliver> for FileDelivery {
    fn from(asked: &wire::Deliver) -> Self {
        Self {
            dir: asked.directory.clone(),
            owner: asked.owner.clone(),
            key_mode: asked.mode.clone().unwrap_or_else(|| "0600".to_owned()),
            p12_password_file: asked.pkcs12_password_file.clone(),
        }
    }
}

impl FileDelivery {
    /// Checks all that can be checked before there is a certificate.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self, roots: &Roots) -> Result<()> {
        roots.admit(&self.dir)?;
        parse_mode(&self.key_mode)?;
        self.owner.as_deref().map(Owner::resolve).transpose()?;
        match &self.p12_password_file {
            Some(file) => roots.admit_password(file),
            None => Ok(()),
        }
    }
}

fn parse_mode(text: &str) -> Result<u32> {
    match u32::from_str_radix(text, 8) {
        // SECURITY: a private key is never for everybody.
        Ok(mode) if mode <= 0o770 && mode & 0o007 == 0 => Ok(mode),
        _ => Err(Error::invalid(format!(
            "`{}` is no mode for a private key: use 0600, 0640 or 0660",
            text.escape_debug()
        ))),
    }
}

/// One version to be delivered.
pub struct Material<'a> {
    /// The certificate object's name, which becomes the friendly name in the key store.
    pub name: &'a str,
    /// The version's ordinal; it names the folder.
    pub ordinal: u32,
    /// DER, leaf first.
    pub chain: &'a [Vec<u8>],
    /// PKCS#8.
    pub key: &'a Secret,
}

/// Writes `material` and makes it current. Blocking. Repeating it changes nothing.
///
/// # Errors
/// `Invalid` for what only a person can mend (owner, password, a foreign file in the way), else `Unavailable`.
pub fn write(delivery: &FileDelivery, roots: &Roots, material: &Material<'_>) -> Result<()> {
    delivery.check(roots)?;
    let key_mode = parse_mode(&delivery.key_mode)?;
    let owner = delivery.owner.as_deref().map(Owner::resolve).transpose()?;
    let files = render(delivery, roots, material, key_mode)?;

    let dir = &delivery.dir;
    let versions = dir.join(VERSIONS);
    let failed = |what: &'static str| {
        move |e: io::Error| {
            Error::unavailable(format!("delivery to `{}` failed at {what}: {e}", dir.display())).because(e)
        }
    };
    // A symbolic link inside a root may lead out of it; asked before anything is made, and of what was made.
    let real_roots = roots.real();
    real_roots.admit(&leads_to(dir).map_err(failed("finding the folder"))?)?;
    // SECURITY: the folders stay the service's own: whoever owned them could put a link in the way of the next delivery.
    make_folder(dir).map_err(failed("making the folder"))?;
    real_roots.admit(&dir.canonicalize().map_err(failed("finding the folder"))?)?;
    make_folder(&versions).map_err(failed("making the folder"))?;

    let folder = format!("{:06}", material.ordinal);
    let target = versions.join(&folder);
    if !is_complete(&target, &files) {
        // CRASH: leaves `.new-…`, which is swept by the next delivery, and `current` as it was.
        let fresh = versions.join(format!(".new-{folder}"));
        remove_if_there(&fresh).map_err(failed("sweeping an interrupted delivery"))?;
        make_folder(&fresh).map_err(failed("making the version's folder"))?;
        for file in &files {
            write_file(&fresh.join(file.name), file, owner.as_ref()).map_err(failed("writing a file"))?;
        }
        sync_dir(&fresh).map_err(failed("syncing the version's folder"))?;
        // What stands there was cut off by a crash or changed by hand. `current` may point at it, so it goes aside first.
        let aside = versions.join(format!(".old-{folder}"));
        remove_if_there(&aside).map_err(failed("sweeping an interrupted delivery"))?;
        if target.symlink_metadata().is_ok() {
            fs::rename(&target, &aside).map_err(failed("moving a damaged version aside"))?;
        }
        fs::rename(&fresh, &target).map_err(failed("naming the version's folder"))?;
        sync_dir(&versions).map_err(failed("syncing the folder"))?;
        remove_if_there(&aside).map_err(failed("sweeping a damaged version"))?;
    }

    // CRASH: before the rename the old version is served, after it the new one; there is no state between.
    switch(dir, CURRENT, &Path::new(VERSIONS).join(&folder)).map_err(failed("switching `current`"))?;
    for file in &files {
        let link = dir.join(file.name);
        match link.symlink_metadata() {
            Ok(found) if !found.is_symlink() => {
                return Err(Error::invalid(format!(
                    "`{}` is in the way and not ours: move it, then run `chancery cert renew`",
                    link.display()
                )));
            }
            _ => switch(dir, file.name, &Path::new(CURRENT).join(file.name)).map_err(failed("linking a file"))?,
        }
    }
    sync_dir(dir).map_err(failed("syncing the folder"))?;
    prune(&versions, &folder).map_err(failed("removing old versions"))
}

struct Rendered {
    name: &'static str,
    content: Secret,
    mode: u32,
}

fn render(delivery: &FileDelivery, roots: &Roots, material: &Material<'_>, key_mode: u32) -> Result<Vec<Rendered>> {
    let unreadable =
        |e: openssl::error::ErrorStack| Error::internal("a stored key or certificate does not parse").because(e);
    let certificates = material
        .chain
        .iter()
        .map(|der| X509::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let Some((leaf, issuers)) = certificates.split_first() else {
        return Err(Error::internal("a stored chain is empty"));
    };
    let key = PKey::private_key_from_pkcs8(material.key.expose()).map_err(unreadable)?;

    let cert = leaf.to_pem().map_err(unreadable)?;
    let mut chain = Vec::new();
    for issuer in issuers {
        chain.extend(issuer.to_pem().map_err(unreadable)?);
    }
    let public = |name, content: Vec<u8>| Rendered {
        name,
        content: Secret::new(content),
        mode: 0o644,
    };
    let private = |name, content: Vec<u8>| Rendered {
        name,
        content: Secret::new(content),
        mode: key_mode,
    };
    let mut files = vec![
        public("fullchain.pem", [cert.as_slice(), &chain].concat()),
        public("cert.pem", cert),
        public("chain.pem", chain),
        private("privkey.pem", key.private_key_to_pem_pkcs8().map_err(unreadable)?),
    ];
    if let Some(file) = &delivery.p12_password_file {
        let password = password(file, roots)?;
        let password = std::str::from_utf8(password.expose())
            .map_err(|_| Error::invalid(format!("the password in `{}` is not text", file.display())))?;
        let store = bundle::pkcs12(material.name, material.key, material.chain, password)?;
        files.push(Rendered {
            name: "keystore.p12",
            content: store,
            mode: key_mode,
        });
    }
    Ok(files)
}

/// Whether every file is there as it should be. A key store is salted afresh each time, so for it being there is enough.
fn is_complete(target: &Path, files: &[Rendered]) -> bool {
    files.iter().all(|file| match fs::read(target.join(file.name)) {
        Ok(found) => file.name == "keystore.p12" || found == file.content.expose(),
        Err(_) => false,
    })
}

/// Makes a folder that others may pass through, if it is not there. What is there must be a folder itself, not a link.
fn make_folder(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    match fs::create_dir(path) {
        // The service may run under a narrow umask, and a web server has to read what is in it.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.symlink_metadata()?.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
        Err(e) => Err(e),
    }
}

fn write_file(path: &Path, file: &Rendered, owner: Option<&Owner>) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    out.write_all(file.content.expose())?;
    if let Some(owner) = owner {
        fchown(&out, Some(owner.user), owner.group)?;
    }
    out.set_permissions(fs::Permissions::from_mode(file.mode))?;
    out.sync_all()
}

/// Points `dir/name` at `to`, in one step.
fn switch(dir: &Path, name: &str, to: &Path) -> io::Result<()> {
    let link = dir.join(name);
    if fs::read_link(&link).is_ok_and(|found| found == to) {
        return Ok(());
    }
    let fresh = dir.join(format!(".new-{name}"));
    remove_if_there(&fresh)?;
    symlink(to, &fresh)?;
    fs::rename(&fresh, &link)?;
    sync_dir(dir)
}

fn prune(versions: &Path, current: &str) -> io::Result<()> {
    let mut names: Vec<String> = fs::read_dir(versions)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.len() == 6 && name.bytes().all(|b| b.is_ascii_digit()) && name != current)
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names
        .iter()
        .skip(KEPT - 1)
        .try_for_each(|old| remove_if_there(&versions.join(old)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkcs12::Pkcs12;
    use openssl::x509::X509NameBuilder;

    use super::*;

    struct House {
        dir: tempfile::TempDir,
        roots: Roots,
    }

    impl House {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Self {
                roots: Roots {
                    delivery: vec![dir.path().to_owned()],
                    passwords: vec![dir.path().to_owned()],
                },
                dir,
            }
        }

        fn delivery(&self) -> FileDelivery {
            FileDelivery {
                dir: self.dir.path().join("www"),
                owner: None,
                key_mode: "0640".to_owned(),
                p12_password_file: None,
            }
        }

        fn read(&self, name: &str) -> Vec<u8> {
            fs::read(self.dir.path().join("www").join(name)).unwrap()
        }
    }

    fn pair() -> (Vec<Vec<u8>>, Secret) {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "x.test").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let der = builder.build().to_der().unwrap();
        (vec![der.clone(), der], Secret::new(key.private_key_to_pkcs8().unwrap()))
    }

    fn material<'a>(ordinal: u32, pair: &'a (Vec<Vec<u8>>, Secret)) -> Material<'a> {
        Material {
            name: "www",
            ordinal,
            chain: &pair.0,
            key: &pair.1,
        }
    }

    /// Key and certificate, as read by someone who opened the folder behind `current` once.
    fn fits(dir: &Path) -> bool {
        let cert = X509::from_pem(&fs::read(dir.join("cert.pem")).unwrap()).unwrap();
        let key = PKey::private_key_from_pem(&fs::read(dir.join("privkey.pem")).unwrap()).unwrap();
        cert.public_key().unwrap().public_eq(&key)
    }

    #[test]
    fn files_are_written_switched_and_pruned() {
        let house = House::new();
        for ordinal in 1..=5 {
            let pair = pair();
            write(&house.delivery(), &house.roots, &material(ordinal, &pair)).unwrap();
            assert!(fits(&house.dir.path().join("www")));
            assert_eq!(
                house.read("fullchain.pem"),
                [house.read("cert.pem"), house.read("chain.pem")].concat()
            );
        }
        let www = house.dir.path().join("www");
        assert_eq!(
            fs::read_link(www.join("current")).unwrap(),
            Path::new("versions/000005")
        );
        assert_eq!(fs::read_dir(www.join("versions")).unwrap().count(), KEPT);
        let mode = fs::metadata(www.join("privkey.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn repeating_a_delivery_changes_nothing_and_mends_what_a_crash_left() {
        let house = House::new();
        let pair = pair();
        let www = house.dir.path().join("www");
        write(&house.delivery(), &house.roots, &material(1, &pair)).unwrap();
        let made = fs::metadata(www.join("versions/000001")).unwrap().modified().unwrap();
        write(&house.delivery(), &house.roots, &material(1, &pair)).unwrap();
        assert_eq!(
            fs::metadata(www.join("versions/000001")).unwrap().modified().unwrap(),
            made
        );

        fs::write(www.join("versions/000001/privkey.pem"), "cut off").unwrap();
        fs::create_dir(www.join("versions/.new-000001")).unwrap();
        fs::remove_file(www.join("cert.pem")).unwrap();
        write(&house.delivery(), &house.roots, &material(1, &pair)).unwrap();
        assert!(fits(&www));
        assert!(!www.join("versions/.new-000001").exists());
    }

    #[test]
    fn a_reader_of_current_never_sees_a_mixed_pair() {
        let house = House::new();
        let www = house.dir.path().join("www");
        write(&house.delivery(), &house.roots, &material(1, &pair())).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for ordinal in 2..40 {
                    write(&house.delivery(), &house.roots, &material(ordinal, &pair())).unwrap();
                }
                done.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let version = www.join(fs::read_link(www.join("current")).unwrap());
                // Two switches later the folder may be pruned; what is read is never mixed.
                if version.join("privkey.pem").exists() && version.join("cert.pem").exists() {
                    assert!(std::panic::catch_unwind(|| fits(&version)).unwrap_or(true));
                }
            }
        });
    }

    #[test]
    fn the_key_store_opens_with_the_password_and_uses_modern_algorithms() {
        let house = House::new();
        let password = house.dir.path().join("password");
        fs::write(&password, "pass word\n").unwrap();
        let mut delivery = house.delivery();
        delivery.p12_password_file = Some(password);
        let pair = pair();
        write(&delivery, &house.roots, &material(1, &pair)).unwrap();
        let store = Pkcs12::from_der(&house.read("keystore.p12")).unwrap();
        let parsed = store.parse2("pass word").unwrap();
        assert_eq!(parsed.cert.unwrap().to_der().unwrap(), pair.0[0]);
        assert_eq!(parsed.ca.unwrap().len(), 1);
        let out = std::process::Command::new("openssl")
            .args(["pkcs12", "-info", "-noout", "-passin", "pass:pass word", "-in"])
            .arg(house.dir.path().join("www/keystore.p12"))
            .output()
            .unwrap();
        let info = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(info.contains("MAC: sha256"), "{info}");
        assert!(info.contains("PBES2, PBKDF2, AES-256-CBC"), "{info}");
    }

    #[test]
    fn a_foreign_file_a_strange_folder_and_a_wide_mode_are_refused() {
        let house = House::new();
        let pair = pair();
        let www = house.dir.path().join("www");
        fs::create_dir(&www).unwrap();
        fs::write(www.join("privkey.pem"), "mine").unwrap();
        let error = write(&house.delivery(), &house.roots, &material(1, &pair)).unwrap_err();
        assert!(error.public().contains("in the way"), "{error}");
        assert_eq!(house.read("privkey.pem"), b"mine");

        for (dir, why) in [
            ("relative", "absolute"),
            ("/a/../b", "absolute"),
            ("/srv/x", "delivery_roots"),
        ] {
            let delivery = FileDelivery {
                dir: dir.into(),
                ..house.delivery()
            };
            let error = delivery.check(&house.roots).unwrap_err();
            assert!(error.public().contains(why), "{error}");
        }
        for mode in ["0644", "777", "x", "0607"] {
            assert!(parse_mode(mode).is_err(), "{mode}");
        }

        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), house.dir.path().join("exit")).unwrap();
        let delivery = FileDelivery {
            dir: house.dir.path().join("exit/www"),
            ..house.delivery()
        };
        let error = write(&delivery, &house.roots, &material(1, &pair)).unwrap_err();
        assert!(error.public().contains("delivery_roots"), "{error}");
    }

    #[test]
    fn a_password_file_is_a_small_file_of_an_admitted_folder() {
        let house = House::new();
        let at = |name: &str| house.dir.path().join(name);
        let pair = pair();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "pin").unwrap();
        symlink(outside.path(), at("link")).unwrap();
        fs::write(at("long"), "x".repeat(5000)).unwrap();
        fs::write(at("empty"), "\n").unwrap();
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        for (file, why) in [
            (outside.path().to_owned(), "password_roots"),
            ("/dev/zero".into(), "password_roots"),
            (at("link"), "password_roots"),
            (at("long"), "longer"),
            (at("empty"), "empty"),
            (at("pipe"), "not a file"),
            (house.dir.path().to_owned(), "not a file"),
        ] {
            let mut delivery = house.delivery();
            delivery.p12_password_file = Some(file);
            let error = write(&delivery, &house.roots, &material(1, &pair)).unwrap_err();
            assert!(error.public().contains(why), "{error}");
        }
        let mut delivery = house.delivery();
        delivery.p12_password_file = Some("/dev/zero".into());
        assert!(
            delivery.check(&house.roots).is_err(),
            "refused before there is a certificate"
        );
    }

    #[test]
    fn a_link_in_place_of_a_folder_is_not_followed_and_nothing_is_made_outside() {
        let house = House::new();
        let pair = pair();
        let www = house.dir.path().join("www");
        write(&house.delivery(), &house.roots, &material(1, &pair)).unwrap();
        let mode = fs::metadata(www.join("versions/000001")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "a web server passes through");

        let outside = tempfile::tempdir().unwrap();
        fs::rename(www.join("versions"), www.join("aside")).unwrap();
        symlink(outside.path(), www.join("versions")).unwrap();
        assert!(write(&house.delivery(), &house.roots, &material(2, &pair)).is_err());
        symlink(outside.path(), house.dir.path().join("exit")).unwrap();
        let delivery = FileDelivery {
            dir: house.dir.path().join("exit/a/b"),
            ..house.delivery()
        };
        assert!(write(&delivery, &house.roots, &material(1, &pair)).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
