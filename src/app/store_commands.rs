//! `passback export`, `import` and `backup` carried out: between the store's own adapters and what the command line says.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Seek as _, Write},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown, lchown},
    path::Path,
};

use super::{
    commands::{chain, failed, load_config, load_local},
    imports,
};
use crate::{
    adapters::{
        clock::SystemClock,
        store::{
            copying::{CopyError, Copying},
            export as store,
            import::{self as importing, Phase, Wholeness},
            look::{FolderLook, look},
            restore::{Damaged, RestoreError, Taken, Taking},
        },
    },
    config::Config,
    domain::ledger::Rules,
    ports::Clock as _,
    surfaces::cli::{
        CliError, ConnectArgs, FindLocal, Screen,
        backup::{self, BackupArgs, Keep, Kept, Source, Steps},
        export::{self, ExportArgs, Target},
        import::{self, ImportArgs, Outcome},
        note,
        progress::{Progress, Unit},
    },
};

/// `passback backup`: of the worker that is told, else of the one of this machine, else of its stopped store.
pub(super) async fn backup(
    args: &BackupArgs,
    path: Option<&Path>,
    local: FindLocal<'_>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    must_have_a_place(&args.folder)?;
    let source = source_of(&args.connect, path)?;
    let keep = Keeping::begin(&args.folder, if args.keep_damaged { Damaged::IsKept } else { Damaged::IsRefused })?;
    backup::run(args, source, keep, local, screen).await
}

/// A folder that is misspelt is not made with all that it would be in.
fn must_have_a_place(folder: &Path) -> Result<(), CliError> {
    let above = above(folder);
    if above.is_dir() {
        return Ok(());
    }
    Err(CliError::Usage(format!("there is no folder {}: make it first, or name another place", above.display())))
}

fn above(folder: &Path) -> &Path {
    folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `passback export`: of a stopped store as it is; of one in use through a copy, which is gone afterwards.
pub(super) async fn export(args: &ExportArgs, path: Option<&Path>, local: FindLocal<'_>) -> Result<(), CliError> {
    if args.salvage {
        let folder = load_local(path)?.store.path;
        return write_lines(args, |to| store::salvage_and_tell(&folder, to, &mut shown(args)));
    }
    match source_of(&args.connect, path)? {
        Source::Folder(steps) => {
            // The export opens the store by itself.
            drop(steps);
            let folder = load_local(path)?.store.path;
            write_lines(args, |to| store::export_and_tell(&folder, to, &mut shown(args)))
        }
        Source::Worker => {
            export::must_be_new(args)?;
            let copy = tempfile::tempdir().map_err(|error| failed(&error))?;
            let folder = copy.path().join("store");
            // What is damaged is met, and told of, when the lines are written.
            let keep = Keeping::begin(&folder, Damaged::IsKept)?;
            backup::copy(&args.connect, Some("passback export"), Source::Worker, keep, local).await?;
            write_lines(args, |to| store::export_and_tell(&folder, to, &mut shown(args)))
        }
    }
}

/// The bar of an export. One to standard output has none: the lines themselves show how far it is, or a program reads them.
fn shown(args: &ExportArgs) -> impl FnMut(u64, u64) + use<> {
    let bar = args.names_a_file().then(|| Progress::of("export", Unit::Jobs));
    move |done, of| bar.iter().for_each(|bar| bar.set(done, of))
}

fn write_lines(
    args: &ExportArgs,
    write: impl FnOnce(&mut dyn Write) -> Result<store::Summary, store::ExportError>,
) -> Result<(), CliError> {
    let mut to = Target::of(args)?;
    let store::Summary { jobs, platforms, unread, loss, .. } = write(&mut to).map_err(|error| match error {
        // Whoever read the output has seen enough.
        store::ExportError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => CliError::ClosedPipe,
        error => failed(&error),
    })?;
    to.finish()?;
    export::report(&export::Tally { jobs, platforms, unread, loss: loss.map(|loss| loss.to_string()) })
}

/// `passback import`: into the store of this machine; where a worker has it open, by way of that worker.
pub(super) async fn import(
    args: &ImportArgs,
    path: Option<&Path>,
    local: FindLocal<'_>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let mut from = lines_of(args)?;
    let wholeness = if args.partial { Wholeness::Waived } else { Wholeness::Needed };
    let folder = load_local(path)?.store.path;
    let is_open = || matches!(look(&folder), FolderLook::There(there) if there.in_use);
    if is_open() {
        importing::examine(&mut from, wholeness, &mut bars()).map_err(|error| failed(&error))?;
        bring(&mut from, &folder).map_err(|error| {
            let shown = folder.display();
            CliError::Failed(format!("the file cannot be put into {shown}, where the worker finds it: {error}"))
        })?;
        return import::report(args, import::ask(args, local, is_open).await?, screen);
    }
    if args.connect.names_a_worker() {
        let shown = folder.display();
        return Err(CliError::Usage(format!(
            "no worker has the store in {shown} open: leave --url and --token out, or import on the worker's own machine"
        )));
    }
    let scene = (load_config(path)?.rules(), SystemClock.now());
    let new = new_folder_of_another(&folder)
        .map_err(|error| CliError::Failed(format!("the folder {} cannot be made: {error}", folder.display())))?;
    let imported = importing::import(&folder, &mut from, wholeness, scene, &mut bars());
    if imported.is_err() && new != Ownership::Known {
        // Only if it is empty.
        drop(fs::remove_dir(&folder));
    }
    let importing::Imported { jobs, known, repeated, in_all, unread } = imported.map_err(|error| failed(&error))?;
    if new == Ownership::OfRoot {
        let shown = folder.display();
        note(&format!("warning: {shown} is new and root's: give it to the worker's user with `chown -R USER {shown}`"));
    }
    let outcome = Outcome { imported: jobs, already_there: known, event_already_there: repeated, jobs: in_all, unread };
    import::report(args, outcome, screen)
}

/// Whose the folder of a store is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// It was there, or is made by the one who will use it.
    Known,
    /// It was made for the owner of the folder above.
    HandedOver,
    /// It was made, and nobody knows for whom.
    OfRoot,
}

/// Root makes the folder of a new store for whoever owns the folder that it is in; what is made in it belongs to its owner.
fn new_folder_of_another(folder: &Path) -> io::Result<Ownership> {
    if folder.exists() || !rustix::process::geteuid().is_root() {
        return Ok(Ownership::Known);
    }
    let Ok(owner) = above(folder).metadata() else { return Ok(Ownership::OfRoot) };
    DirBuilder::new().mode(0o700).create(folder)?;
    lchown(folder, Some(owner.uid()), Some(owner.gid()))?;
    Ok(if owner.uid() == 0 { Ownership::OfRoot } else { Ownership::HandedOver })
}

fn lines_of(args: &ImportArgs) -> Result<File, CliError> {
    if args.file == Path::new("-") {
        return importing::spool(io::stdin().lock()).map_err(|error| failed(&error));
    }
    let shown = args.file.display();
    let opened = File::open(&args.file);
    let file = opened.map_err(|error| CliError::Usage(format!("{shown} cannot be read: {error}")))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if is_file { Ok(file) } else { importing::spool(file).map_err(|error| failed(&error)) }
}

/// A bar for each phase of an import.
fn bars() -> impl FnMut(Phase, u64, u64) {
    let mut shown: Option<(Phase, Progress)> = None;
    move |phase, done, of| {
        if shown.as_ref().is_none_or(|(known, _)| *known != phase) {
            let bar = match phase {
                Phase::Reading => Progress::of("reading", Unit::Bytes),
                Phase::Writing => Progress::of("import", Unit::Jobs),
            };
            shown = Some((phase, bar));
        }
        if let Some((_, bar)) = &shown {
            bar.set(done, of);
        }
    }
}

/// Puts the lines where the worker that has the store open finds them: they are its own to read, and nobody else's.
fn bring(from: &mut File, folder: &Path) -> io::Result<()> {
    from.rewind()?;
    let path = folder.join(imports::BROUGHT);
    // Anew, never through what lies there: root must not be led elsewhere by a link.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let owner = folder.metadata()?;
    if rustix::process::geteuid().is_root() {
        fchown(&to, Some(owner.uid()), Some(owner.gid()))?;
    }
    io::copy(from, &mut to)?;
    to.sync_all()
}

/// A worker that is told is asked; else the store of this machine is read by itself, unless a worker has it open.
fn source_of(connect: &ConnectArgs, path: Option<&Path>) -> Result<Source, CliError> {
    if connect.names_a_worker() {
        return Ok(Source::Worker);
    }
    let folder = load_local(path)?.store.path;
    match look(&folder) {
        FolderLook::There(there) if there.in_use => Ok(Source::Worker),
        // The worker may run where this user may not look.
        FolderLook::There(there) if there.store_bytes.is_none() && there.written.is_err() => Ok(Source::Worker),
        FolderLook::Unusable(_) => Ok(Source::Worker),
        FolderLook::There(_) | FolderLook::Missing { .. } => Ok(Source::Folder(steps_of(folder))),
    }
}

/// The copy begins with the first step, so that an export may leave it alone.
fn steps_of(folder: std::path::PathBuf) -> Steps {
    let mut copying: Option<Copying> = None;
    Box::new(move || {
        if copying.is_none() {
            copying = Some(Copying::of_stopped(&folder).map_err(not_copied)?);
        }
        let Some(copying) = &mut copying else { return Ok(None) };
        copying.step().map_err(not_copied)
    })
}

/// A copy that is made a store.
struct Keeping {
    taking: Taking,
    damaged: Damaged,
}

impl Keeping {
    fn begin(folder: &Path, damaged: Damaged) -> Result<Box<Self>, CliError> {
        let taking = Taking::begin(folder).map_err(not_restored)?;
        Ok(Box::new(Self { taking, damaged }))
    }
}

impl Keep for Keeping {
    fn take(&mut self, bytes: &[u8]) -> Result<(u64, u64), CliError> {
        let progress = self.taking.take(bytes).map_err(not_restored)?;
        Ok((progress.jobs, progress.jobs_in_all))
    }

    fn finish(self: Box<Self>) -> Result<Kept, CliError> {
        // Nothing is decided in it: the rules of the worker that made it do not matter.
        let rules: Rules = Config::default().rules();
        let Taken { jobs, bytes, damages } = self.taking.finish(rules, self.damaged).map_err(not_restored)?;
        Ok(Kept { jobs, bytes, damages })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn not_copied(error: CopyError) -> CliError {
    CliError::Failed(chain(&error))
}

fn not_restored(error: RestoreError) -> CliError {
    match error {
        RestoreError::NotEmpty(_) => CliError::Usage(error.to_string()),
        error => failed(&error),
    }
}
