"""Recipes of deid, scripts of CTP's anonymiser and vocabularies of dicom-anon as rules."""

from dicomnode.recipes.conversion import Converted, convert, load

__all__ = ["Converted", "convert", "load"]
