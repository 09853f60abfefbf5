import{b as t,e as o}from"./chunk-O3E4AGB7.js";import"./chunk-L7H5YR3U.js";import"./chunk-CRN4YSW2.js";import"./chunk-M2QGPELJ.js";export{t as Dataset,o as Datasets};
