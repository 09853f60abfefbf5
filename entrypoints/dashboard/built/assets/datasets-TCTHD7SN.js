import{b as t,e as o}from"./chunk-FTMBAQUM.js";import"./chunk-L7H5YR3U.js";import"./chunk-JXXLYTCD.js";import"./chunk-RVNV3SIY.js";export{t as Dataset,o as Datasets};
