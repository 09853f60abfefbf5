import{b as t,e as o}from"./chunk-NCED7G4G.js";import"./chunk-L7H5YR3U.js";import"./chunk-6QNT36EI.js";import"./chunk-GNXP3RYX.js";export{t as Dataset,o as Datasets};
