//! Which devices are used: what the person chooses, and what is plugged in and unplugged meanwhile.

use parlor_media::{
    AudioSink, AudioSource, Device, DeviceChoice, DeviceKind, DeviceProblem, DeviceWatch, Devices, VideoSource,
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Done, Engine, Notice};
use crate::{
    call::Input,
    settings::{NewDevices, Settings},
};

/// A device that was plugged in, and that the person may want to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// What it is.
    pub kind: DeviceKind,
    /// Which.
    pub device: Device,
}

impl NewDevice {
    fn choice(&self) -> Option<DeviceChoice> {
        let id = self.device.id.clone();
        match self.kind {
            DeviceKind::Camera => Some(DeviceChoice::Camera(VideoSource::Device(id))),
            DeviceKind::Microphone => Some(DeviceChoice::Microphone(AudioSource::Device(id))),
            DeviceKind::Speaker => Some(DeviceChoice::Speaker(AudioSink::Device(id))),
            DeviceKind::VideoOut => None,
        }
    }
}

/// What is plugged in, and what of it was not asked for yet.
#[derive(Default)]
pub(super) struct Plugged {
    pub(super) devices: Devices,
    /// Devices that came and that the person has not decided about.
    pub(super) offered: Vec<NewDevice>,
    /// What was there at the start is not new.
    looked: bool,
    watch: Option<(DeviceWatch, watch::Receiver<Devices>)>,
}

impl Plugged {
    /// Starts to look what comes and goes.
    pub(super) fn watch(&mut self) {
        let (found, receiver) = watch::channel(Devices::default());
        let watch = DeviceWatch::spawn(move |devices| drop(found.send(devices.clone())));
        self.watch = Some((watch, receiver));
    }

    /// Waits until there are other devices than before; for ever when nobody looks. Cancel safe.
    pub(super) async fn changed(&mut self) -> Option<Devices> {
        if let Some((_, found)) = &mut self.watch
            && found.changed().await.is_ok()
        {
            return Some(found.borrow_and_update().clone());
        }
        std::future::pending().await
    }

    /// Takes what is there now. What is new of it, and of interest to somebody with these settings.
    fn update(&mut self, devices: Devices, settings: &Settings) -> Vec<NewDevice> {
        let before = std::mem::replace(&mut self.devices, devices);
        self.offered.retain(|offered| of_kind(&self.devices, offered.kind).contains(&offered.device));
        if !std::mem::replace(&mut self.looked, true) {
            return Vec::new();
        }
        new_devices(&before, &self.devices, settings)
    }
}

fn of_kind(devices: &Devices, kind: DeviceKind) -> &[Device] {
    match kind {
        DeviceKind::Camera => &devices.cameras,
        DeviceKind::Microphone => &devices.microphones,
        DeviceKind::Speaker => &devices.speakers,
        DeviceKind::VideoOut => &[],
    }
}

/// What was plugged in, but for what is used anyway: what was chosen before, and what the system made its default for who
/// follows that.
fn new_devices(before: &Devices, after: &Devices, settings: &Settings) -> Vec<NewDevice> {
    let mut new = Vec::new();
    for kind in [DeviceKind::Camera, DeviceKind::Microphone, DeviceKind::Speaker] {
        let (before, after) = (of_kind(before, kind), of_kind(after, kind));
        for (position, device) in after.iter().enumerate() {
            let used = match kind {
                DeviceKind::Camera => settings.camera == VideoSource::Device(device.id.clone()),
                DeviceKind::Microphone => {
                    settings.microphone == AudioSource::Device(device.id.clone())
                        || (settings.microphone == AudioSource::Default && position == 0)
                }
                DeviceKind::Speaker => {
                    settings.speaker == AudioSink::Device(device.id.clone())
                        || (settings.speaker == AudioSink::Default && position == 0)
                }
                DeviceKind::VideoOut => true,
            };
            if !used && before.iter().all(|known| known.id != device.id) {
                new.push(NewDevice { kind, device: device.clone() });
            }
        }
    }
    new
}

impl Engine {
    /// Looks for devices, on a thread of their own.
    pub(super) fn list_devices(&mut self) {
        match &self.plugged.watch {
            Some((watch, _)) => watch.look(),
            None => {
                self.work.spawn_blocking(|| Done::DevicesListed(Devices::list()));
            }
        }
    }

    pub(super) fn on_devices(&mut self, devices: Devices) {
        let new = self.plugged.update(devices, &self.settings);
        if new.is_empty() {
            return;
        }
        info!(?new, policy = ?self.settings.new_devices, "plugged in");
        match self.settings.new_devices {
            NewDevices::Use => self.use_new_devices(&new),
            NewDevices::Ask => {
                for new in new {
                    // A second headset of the same kind takes the place of the first in the question.
                    self.plugged.offered.retain(|offered| offered.kind != new.kind);
                    self.plugged.offered.push(new);
                }
            }
            NewDevices::Ignore => {}
        }
    }

    /// The person's answer to what is offered.
    pub(super) fn answer_new_devices(&mut self, take: bool) {
        let offered = std::mem::take(&mut self.plugged.offered);
        if take {
            self.use_new_devices(&offered);
        }
    }

    fn use_new_devices(&mut self, new: &[NewDevice]) {
        for device in new {
            if let Some(choice) = device.choice() {
                self.use_device(choice);
            }
        }
        let mut names: Vec<String> = new.iter().map(|new| new.device.name.clone()).collect();
        names.dedup();
        self.notify(Notice::NewDevicesUsed(names));
    }

    /// Uses a device from now on, in the call too. In a call it is kept when it turns out to work.
    pub(super) fn use_device(&mut self, choice: DeviceChoice) {
        let brings_a_picture = matches!(&choice, DeviceChoice::Camera(source) if *source != VideoSource::None)
            && *self.camera() == VideoSource::None;
        if self.media.use_device(&choice) {
            if brings_a_picture {
                self.machine.handle(super::now(), Input::SetCamera(true));
            }
        } else if let Some(trial) = &self.trial {
            trial.use_device(choice);
        } else {
            self.keep_choice(choice);
        }
    }

    /// A device works: it is used in later calls, too. What the person chose is newer than what the command line named.
    pub(super) fn keep_choice(&mut self, choice: DeviceChoice) {
        let mut settings = self.settings.clone();
        let overrides = &mut self.config.overrides;
        match choice {
            DeviceChoice::Camera(source) => (settings.camera, overrides.camera) = (source, None),
            DeviceChoice::Microphone(source) => (settings.microphone, overrides.microphone) = (source, None),
            DeviceChoice::Speaker(sink) => {
                (settings.speaker, overrides.speaker) = (sink, None);
                self.tones = None;
            }
        }
        if settings != self.settings {
            self.set_settings(settings);
        }
    }

    pub(super) fn on_device_refused(&mut self, choice: DeviceChoice, problem: DeviceProblem) {
        warn!(?choice, ?problem, "a device that was chosen can't be used");
        self.notify(Notice::DeviceRefused(problem));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str) -> Device {
        Device { id: id.to_owned(), name: id.to_uppercase() }
    }

    fn built_in() -> Devices {
        Devices { cameras: vec![device("cam")], microphones: vec![device("mic")], speakers: vec![device("loud")] }
    }

    fn with_headset() -> Devices {
        let mut devices = built_in();
        devices.microphones.push(device("headset"));
        devices.speakers.push(device("headset"));
        devices
    }

    fn kinds(new: &[NewDevice]) -> Vec<DeviceKind> {
        new.iter().map(|new| new.kind).collect()
    }

    #[test]
    fn a_headset_is_new_once_and_what_was_there_at_the_start_is_not() {
        let (mut plugged, settings) = (Plugged::default(), Settings::default());
        assert_eq!(plugged.update(built_in(), &settings), []);
        let new = plugged.update(with_headset(), &settings);
        assert_eq!(kinds(&new), [DeviceKind::Microphone, DeviceKind::Speaker]);
        assert_eq!(plugged.update(with_headset(), &settings), []);
    }

    #[test]
    fn an_offer_ends_when_the_device_is_unplugged() {
        let (mut plugged, settings) = (Plugged::default(), Settings::default());
        plugged.update(built_in(), &settings);
        plugged.offered = plugged.update(with_headset(), &settings);
        plugged.update(built_in(), &settings);
        assert_eq!(plugged.offered, []);
    }

    #[test]
    fn what_is_used_anyway_is_not_offered() {
        let chosen = Settings { microphone: AudioSource::Device("headset".to_owned()), ..Settings::default() };
        assert_eq!(kinds(&new_devices(&built_in(), &with_headset(), &chosen)), [DeviceKind::Speaker]);
        let mut default = with_headset();
        default.microphones.reverse();
        default.speakers.reverse();
        assert_eq!(new_devices(&built_in(), &default, &Settings::default()), []);
        let elsewhere = Settings { speaker: AudioSink::Device("loud".to_owned()), ..Settings::default() };
        assert_eq!(kinds(&new_devices(&built_in(), &default, &elsewhere)), [DeviceKind::Speaker]);
    }
}
