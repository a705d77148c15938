"""Sound files, and the two encoders of them."""

import numpy as np
import pytest

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.encoder import UnreadableError
from llm4rec.encode.mel import MelEncoder
from llm4rec.encode.sound import SAMPLE_RATE, open_sound
from llm4rec.encode.speech import SpeechEncoder
from tests.encode.media_files import sound_file, tone, wav_header


def reason(media: bytes) -> str:
    with pytest.raises(UnreadableError) as caught:
        open_sound(media, 30)
    return str(caught.value)


def pitch(samples: np.ndarray) -> float:
    """The loudest frequency."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize(("kind", "options"), [("WAV", {}), ("FLAC", {}), ("MP3", {}), ("OGG", {})])
def test_every_kind_comes_out_as_the_sound_that_went_in(kind, options):
    found = open_sound(sound_file(tone(440), kind, **options), 30)
    assert found.dtype == np.float32 and abs(len(found) - 16_000) < 3_000
    assert pitch(found) == pytest.approx(440, abs=2)
    assert np.abs(found).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_sample_format_has_the_same_range(subtype):
    assert np.abs(open_sound(sound_file(subtype=subtype), 30)).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_every_rate_is_brought_to_one(rate):
    found = open_sound(sound_file(tone(440, 2, rate), rate=rate), 30)
    assert len(found) == pytest.approx(2 * SAMPLE_RATE, abs=2)
    assert pitch(found) == pytest.approx(440, abs=2)


def test_what_the_new_rate_cannot_hold_is_filtered_out_not_folded_back():
    high = tone(15_000, 1, 48_000)
    assert np.abs(open_sound(sound_file(high, rate=48_000), 30)[800:-800]).max() < 0.01


def test_channels_are_averaged():
    both = np.stack([tone(440), np.zeros(16_000, np.float32)], axis=1)
    np.testing.assert_allclose(open_sound(sound_file(both), 30), tone(440) / 2, atol=1e-4)


def test_long_sounds_are_cut():
    assert len(open_sound(sound_file(tone(440, 3)), 1.5)) == 24_000


def test_what_cannot_be_heard_has_a_reason():
    assert reason(b"") == "empty"
    assert "not a sound file" in reason(b"<html>nothing here") and "starts with '<html>" in reason(
        b"<html>nothing here"
    )
    assert reason(wav_header(16_000)) == "no samples"
    assert reason(sound_file(np.zeros(1000, np.float32))) == "silent: every sample is 0"
    assert "no finite numbers" in reason(sound_file(np.array([0.1, np.nan, 0.2], np.float32), subtype="FLOAT"))
    assert reason(wav_header(5, data=bytes(range(100)))) == "sample rate 5; 1000 to 384000 can be read"
    assert "channels; at most 32" in reason(wav_header(16_000, channels=200, data=bytes(range(200)) * 4))
    assert reason(wav_header(0, data=bytes(100)))


def test_a_sound_that_was_cut_off_is_used_as_far_as_it_goes():
    whole = sound_file(tone(440, 2))
    found = open_sound(whole[: len(whole) // 2], 30)
    assert len(found) == pytest.approx(16_000, abs=50) and pitch(found) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
def test_whatever_the_damage_there_is_a_sound_or_a_reason(kind):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(sound_file(tone(440, 0.5), kind), np.uint8)
    for _ in range(40):
        damaged = whole.copy()
        places = rng.integers(0, len(whole), rng.integers(1, 20))
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            assert np.isfinite(open_sound(damaged[: rng.integers(1, len(whole) + 1)].tobytes(), 30)).all()
        except UnreadableError as error:
            assert str(error)


def frames(*media: bytes, **settings: int) -> np.ndarray:
    """Frames of sounds, shape (n, frames, bands)."""
    encoder = MelEncoder(EncodeConfig(**settings))
    return encoder.encode(list(media)).reshape(len(media), *encoder.shape)


def test_mel_frames_show_what_sounds_when():
    low, high = tone(250, 1), tone(3000, 1)
    (found,) = frames(sound_file(np.concatenate([low, high])), mel_frames=10, mel_bands=40)
    assert found.shape == (10, 40)
    # mel(f) = 2595 log10(1 + f / 700): 250 Hz is 344 and 3000 Hz 1876 of 2840 mels, of 40 bands
    assert abs(found[1].argmax() - 344 / 2840 * 40) < 2
    assert abs(found[8].argmax() - 1876 / 2840 * 40) < 2


def test_mel_values_lie_between_zero_and_one_and_do_not_depend_on_loudness():
    loud, quiet = frames(sound_file(tone(440, 1, loudness=0.9)), sound_file(tone(440, 1, loudness=0.09)))
    assert loud.min() == 0 and 0.9 < loud.max() <= 1
    np.testing.assert_allclose(loud, quiet, atol=0.05)  # what 16 bits round away


def test_mel_frames_have_one_shape_for_every_length():
    assert frames(*(sound_file(tone(440, seconds)) for seconds in (0.001, 0.1, 5))).shape == (3, 64, 64)
    assert MelEncoder(EncodeConfig(mel_frames=7, mel_bands=9)).shape == (7, 9)


def test_speech_vectors_have_length_one_and_hear_what_is_alike():
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 0.1, 32_000).astype(np.float32) for _ in range(2)]
    vectors = SpeechEncoder(EncodeConfig()).encode(
        [sound_file(noise[0]), sound_file(noise[1]), sound_file(tone(440, 2)), sound_file(tone(445, 2))]
    )
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosine = vectors @ vectors.T
    assert min(cosine[0, 1], cosine[2, 3]) > cosine[0, 2] + 0.1


def test_speech_vectors_do_not_depend_on_file_kind_or_rate():
    encoder = SpeechEncoder(EncodeConfig())
    sweep = np.sin(2 * np.pi * np.cumsum(np.linspace(200, 2000, 96_000)) / 48_000).astype(np.float32) / 2
    vectors = encoder.encode([sound_file(sweep, rate=48_000), sound_file(sweep, "MP3", rate=48_000)])
    assert vectors[0] @ vectors[1] > 0.99
    (slow,) = encoder.encode([sound_file(sweep[::3], rate=16_000)])
    assert vectors[0] @ slow > 0.99
