"""Small DICOM files for the tests: one writer, one way to compress what it wrote."""

import zlib

import gdcm
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def write_radiograph(path, pixels, **elements):
    """A small CR file; `elements` overrides, None leaves one out."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        ComputedRadiographyImageStorage,
        generate_uid(entropy_srcs=["kneel"]),
    )
    values = {
        "Modality": "CR",
        "PhotometricInterpretation": "MONOCHROME2",
        "ImagerPixelSpacing": [0.2, 0.2],
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.astype("<u2").tobytes(),
        **elements,
    }
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def compress(source, target, syntax):
    """Write `source` compressed in another transfer syntax, by the name that gdcm has for it."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


def deflated(source, target, extra=b"", end=None):
    """Write `source` deflated as a whole; extra: what follows its data set; end: where to cut the stream."""
    dataset = pydicom.dcmread(source)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(target, enforce_file_format=True)
    start = 144 + read_file_meta_info(target).FileMetaInformationGroupLength
    data = target.read_bytes()
    plain = zlib.decompress(data[start:], -zlib.MAX_WBITS) + extra
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    target.write_bytes(data[:start] + (packer.compress(plain) + packer.flush())[:end])
    return target
