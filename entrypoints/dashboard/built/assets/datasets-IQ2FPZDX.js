import{b as t,e as o}from"./chunk-EOQWH6LR.js";import"./chunk-L7H5YR3U.js";import"./chunk-ULEQMDHP.js";import"./chunk-FN2PGVPD.js";export{t as Dataset,o as Datasets};
